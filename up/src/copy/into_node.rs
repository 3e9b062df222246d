//! From the host into a node.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use parbake_cluster::NodeName;
use tar::{Builder, EntryType, Header};
use walkdir::WalkDir;

use super::{Copied, CopyError};
use crate::{Cluster, Error};

/// What is copied is called so on its way.
const CONTENT: &str = "content";
/// Comes last, so that a stream that is cut off is not taken for all.
const COMPLETE: &str = "complete";
/// Takes the stream: where to, what it is called if that is a directory, and what it is.
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
[ ! -d "$target" ] || fail "\`$target\` is there already; remove it, or name another place"
if [ $kind = directory ] && { [ -e "$target" ] || [ -L "$target" ]; }; then
    fail "\`$target\` is there already, and is no directory"
fi
stage=$(mktemp -d -- "$parent/.parbake-cp.XXXXXX") || fail "nothing can be written to \`$parent\`"
trap 'rm -rf -- "$stage"' EXIT
trap 'exit 65' HUP INT PIPE TERM
tar --extract --preserve-permissions --no-same-owner --directory="$stage" --file=-
[ -e "$stage/complete" ] || fail "the data was cut off"
mv --no-target-directory -- "$stage/content" "$target"
printf '%s' "$target"
"#;

pub(super) fn copy(cluster: &Cluster, from: &Path, node: &NodeName, to: &str) -> Result<Copied, Error> {
    // A link that is named means what it leads to.
    let real = from.canonicalize().map_err(CopyError::read(from))?;
    let kind = real.metadata().map_err(CopyError::read(from))?;
    let name = from.file_name().or(real.file_name()).unwrap_or_default();
    if name.is_empty() || !(kind.is_dir() || kind.is_file()) {
        return Err(CopyError::Refused {
            direction: "to",
            node: node.to_string(),
            why: format!(
                "`{}` is no file or directory that could be copied",
                from.display()
            ),
        }
        .into());
    }
    // Relative paths are root's, as for every command on a node; an empty one is root's home itself.
    let to = if to.is_empty() { "." } else { to };
    let kind = if kind.is_dir() { "directory" } else { "file" };
    let receive = cluster
        .running()
        .command(node.as_str(), ["sh", "-euc", RECEIVE, "sh", to])?;
    let mut copied = Copied::default();
    let mut failed = None;
    let received = receive.arg(name).arg(kind).feed(|stream| {
        let sent = send(&real, stream, &mut copied);
        // The stream's own errors are the node's matter.
        sent.map_err(|(path, error)| match path {
            Some(path) => {
                let text = error.to_string();
                failed = Some(CopyError::read(&path)(error));
                io::Error::other(text)
            }
            None => error,
        })
    });
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    copied.to = PathBuf::from(received.map_err(CopyError::of_node("to", node.as_str()))?.stdout);
    Ok(copied)
}

/// Why something was not sent: the path that could not be read, or nothing where the stream is to blame.
type Unsent = (Option<PathBuf>, io::Error);

fn send(root: &Path, stream: &mut dyn Write, copied: &mut Copied) -> Result<(), Unsent> {
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
) -> Result<(), Unsent> {
    let unread = |error| (Some(path.to_owned()), error);
    let metadata = fs::symlink_metadata(path).map_err(unread)?;
    let mut header = header(&metadata);
    let appended = if metadata.is_file() {
        let file = File::open(path).map_err(unread)?;
        let mut content = Exactly {
            left: metadata.len(),
            file,
            failed: false,
        };
        let appended = archive.append_data(&mut header, name, &mut content);
        if content.failed {
            return appended.map_err(unread);
        }
        copied.bytes += metadata.len();
        appended
    } else if metadata.is_dir() {
        archive.append_data(&mut header, name, io::empty())
    } else if metadata.is_symlink() {
        let to = fs::read_link(path).map_err(unread)?;
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

/// A file of which exactly as much is read as its header promises: it may grow or shrink meanwhile.
struct Exactly {
    file: File,
    left: u64,
    failed: bool,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.file).take(self.left).read(buffer);
        let read = match read {
            Ok(0) if self.left > 0 && !buffer.is_empty() => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it became shorter while it was read",
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
