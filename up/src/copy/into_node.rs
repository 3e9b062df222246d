//! Copies from the host into a node.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parbake_cluster::NodeName;
use tar::{Builder, EntryType, Header};
use walkdir::WalkDir;

use super::{Copied, CopyError};
use crate::{Cluster, Error};

/// The name of the copied file or directory in the stream.
const CONTENT: &str = "content";
/// The last entry, by which the receiver recognises a complete stream.
const COMPLETE: &str = "complete";
/// Receives the stream. Arguments: the destination, the name in it if that is a directory, and `file` or `directory`.
const RECEIVE: &str = r#"
fail() { echo "$1" >&2; exit 64; }
path=$1 name=$2 kind=$3
if [ -d "$path" ]; then
    target=${path%/}/$name
else
    case $path in */) fail "there is no directory \`$path\`" ;; esac
    target=$path
fi
parent=$(dirname -- "$target")
[ -d "$parent" ] || fail "there is no directory \`$parent\`"
[ ! -d "$target" ] || fail "\`$target\` already exists; remove it, or choose another path"
if [ $kind = directory ] && { [ -e "$target" ] || [ -L "$target" ]; }; then
    fail "\`$target\` already exists, and is not a directory"
fi
staging=$(mktemp -d -- "$parent/.parbake-cp.XXXXXX") || fail "\`$parent\` is not writable"
trap 'rm -rf -- "$staging"' EXIT
trap 'exit 65' HUP INT PIPE TERM
tar --extract --preserve-permissions --no-same-owner --directory="$staging" --file=-
[ -e "$staging/complete" ] || fail "the data is incomplete"
mv --no-target-directory -- "$staging/content" "$target"
printf '%s' "$target"
"#;

pub(super) fn copy(cluster: &Cluster, from: &Path, node: &NodeName, to: &str) -> Result<Copied, Error> {
    // A symbolic link on the command line is followed.
    let real = from.canonicalize().map_err(CopyError::read(from))?;
    let kind = real.metadata().map_err(CopyError::read(from))?;
    let name = from.file_name().or(real.file_name()).unwrap_or_default();
    if name.is_empty() || !(kind.is_dir() || kind.is_file()) {
        return Err(CopyError::Refused {
            direction: "to",
            node: node.to_string(),
            why: format!("`{}` is not a file or directory", from.display()),
        }
        .into());
    }
    // Commands on a node run in root's home.
    let to = if to.is_empty() { "." } else { to };
    let kind = if kind.is_dir() { "directory" } else { "file" };
    let receive = cluster
        .running()
        .command(node.as_str(), ["sh", "-euc", RECEIVE, "sh", to])?;
    let mut copied = Copied::default();
    let mut unreadable = None;
    let received = receive.arg(name).arg(kind).stream_input(|stream| {
        let sent = send(&real, stream, &mut copied);
        // If the stream broke, the node's error says more.
        sent.map_err(|(path, error)| match path {
            Some(path) => {
                let text = error.to_string();
                unreadable = Some(CopyError::read(&path)(error));
                io::Error::other(text)
            }
            None => error,
        })
    });
    if let Some(error) = unreadable {
        return Err(error.into());
    }
    copied.to = PathBuf::from(received.map_err(CopyError::on_node("to", node.as_str()))?.stdout);
    Ok(copied)
}

/// An error, with the path that could not be read, or `None` if the stream broke.
type SendError = (Option<PathBuf>, io::Error);

fn send(root: &Path, stream: &mut dyn Write, copied: &mut Copied) -> Result<(), SendError> {
    let mut archive = Builder::new(stream);
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry.map_err(|error| (error.path().map(Path::to_owned), error.into()))?;
        let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let name = match below.as_os_str().is_empty() {
            true => PathBuf::from(CONTENT),
            false => Path::new(CONTENT).join(below),
        };
        append(&mut archive, entry.path(), &name, copied)?;
    }
    let mut end = Header::new_gnu();
    end.set_size(0);
    let ended = archive.append_data(&mut end, COMPLETE, io::empty());
    let ended = ended.and_then(|()| archive.into_inner()?.flush());
    ended.map_err(|error| (None, error))
}

fn append(
    archive: &mut Builder<&mut dyn Write>,
    path: &Path,
    name: &Path,
    copied: &mut Copied,
) -> Result<(), SendError> {
    let unreadable = |error| (Some(path.to_owned()), error);
    let metadata = fs::symlink_metadata(path).map_err(unreadable)?;
    let mut header = header(&metadata);
    let appended = if metadata.is_file() {
        let mut file = File::open(path).map_err(unreadable)?;
        copied.bytes += metadata.len();
        if is_sparse(&metadata) {
            let appended = archive.append_file(name, &mut file);
            let now = file.metadata().map_err(unreadable)?;
            if now.len() != metadata.len() {
                return Err(unreadable(io::Error::other("it changed while it was read")));
            }
            appended
        } else {
            let mut content = ExactReader {
                left: metadata.len(),
                file,
                failed: false,
            };
            let appended = archive.append_data(&mut header, name, &mut content);
            if content.failed {
                return appended.map_err(unreadable);
            }
            appended
        }
    } else if metadata.is_dir() {
        archive.append_data(&mut header, name, io::empty())
    } else if metadata.is_symlink() {
        let to = fs::read_link(path).map_err(unreadable)?;
        archive.append_link(&mut header, name, to)
    } else {
        copied.skipped.push(path.to_owned());
        return Ok(());
    };
    copied.entries += 1;
    appended.map_err(|error| (None, error))
}

fn header(metadata: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    header.set_uid(0);
    header.set_gid(0);
    if !metadata.is_file() {
        header.set_size(0);
    }
    if metadata.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
    }
    header
}

/// True if the file has holes. Blocks are of 512 bytes (stat(2)).
fn is_sparse(metadata: &Metadata) -> bool {
    metadata.blocks() < metadata.len() / 512
}

/// Reads as many bytes as the entry's header announces: the file may grow or shrink meanwhile.
struct ExactReader {
    file: File,
    left: u64,
    failed: bool,
}

impl Read for ExactReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.file).take(self.left).read(buffer);
        let read = match read {
            Ok(0) if self.left > 0 && !buffer.is_empty() => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it was truncated while it was read",
            )),
            read => read,
        };
        match &read {
            Ok(read) => self.left -= *read as u64,
            Err(_) => self.failed = true,
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::super::from_node::receive;
    use super::{CONTENT, send};
    use crate::copy::Copied;

    #[test]
    fn sparse_files_stay_sparse_on_the_way_and_at_the_destination() {
        const SIZE: u64 = 64 << 20;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("disk.img"), dir.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(SIZE).unwrap();
        file.write_all_at(b"boot", 4096).unwrap();
        file.write_all_at(b"data", SIZE / 2).unwrap();
        let (mut stream, mut copied) = (Vec::new(), Copied::default());
        send(&from, &mut stream, &mut copied).unwrap();
        assert_eq!((copied.entries, copied.bytes), (1, SIZE));
        assert!(stream.len() < 1 << 20, "{} bytes", stream.len());
        fs::create_dir(&to).unwrap();
        let received = receive(&mut stream.as_slice(), &to).unwrap();
        assert_eq!(received.bytes, SIZE);
        let metadata = fs::metadata(to.join(CONTENT)).unwrap();
        assert!(metadata.len() == SIZE && metadata.blocks() < 2048, "{metadata:?}");
        assert!(fs::read(to.join(CONTENT)).unwrap() == fs::read(&from).unwrap());
    }
}
