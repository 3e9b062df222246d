//! Copies from a node to the host.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use parbake_cluster::NodeName;
use tar::{Archive, EntryType};

use super::{Copied, CopyError};
use crate::{Cluster, Error};

/// Sends a file or directory. Exit code 1 means that a file changed meanwhile, as logs do. Only GNU's format has sparse
/// entries that the `tar` crate unpacks.
const SEND: &str = r#"
fail() { echo "$1" >&2; exit 64; }
path=$(realpath --canonicalize-existing -- "$1" 2>/dev/null) || fail "there is no file or directory \`$1\`"
[ "$path" != / ] || fail "name a file or directory below \`/\`"
cd -- "$(dirname -- "$path")"
tar --create --file=- --format=gnu --sparse --warning=no-file-changed -- "./$(basename -- "$path")" || [ $? = 1 ]
"#;

pub(super) fn copy(cluster: &Cluster, node: &NodeName, from: &str, to: &Path) -> Result<Copied, Error> {
    let name = Path::new(from).file_name().map(OsStr::to_owned);
    let refused = |why: String| CopyError::Refused {
        direction: "from",
        node: node.to_string(),
        why,
    };
    let destination = destination(to, name.as_deref()).map_err(refused)?;
    let parent = match destination.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let staging = tempfile::Builder::new().prefix(".parbake-cp.").tempdir_in(parent);
    let staging = staging.map_err(CopyError::write(parent))?;
    let send = cluster
        .running()
        .command(node.as_str(), ["sh", "-euc", SEND, "sh", from])?;
    let copied = send.stream_output(|stream| receive(stream, staging.path()));
    let mut copied = copied.map_err(CopyError::on_node("from", node.as_str()))?;
    let entry = fs::read_dir(staging.path()).and_then(|mut entries| entries.next().transpose());
    let Some(entry) = entry.map_err(CopyError::read(staging.path()))? else {
        return Err(refused(format!("`{from}` is not a file or directory")).into());
    };
    let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
    if is_dir && destination.symlink_metadata().is_ok() || destination.is_dir() {
        let destination = destination.display();
        return Err(refused(format!(
            "`{destination}` already exists; remove it, or choose another path"
        ))
        .into());
    }
    fs::rename(entry.path(), &destination).map_err(CopyError::write(&destination))?;
    copied.to = destination;
    Ok(copied)
}

/// The path of the copy of `name`: in the directory `to`, or `to` itself.
fn destination(to: &Path, name: Option<&OsStr>) -> Result<PathBuf, String> {
    if to.is_dir() {
        let name = name.ok_or("name a file or directory of the node")?;
        return Ok(to.join(name));
    }
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let ends_with_slash = to.as_os_str().as_encoded_bytes().ends_with(b"/");
    let missing = if ends_with_slash {
        Some(to)
    } else {
        parent.filter(|parent| !parent.is_dir())
    };
    match missing {
        Some(missing) => Err(format!(
            "there is no directory `{}` on this host",
            missing.display()
        )),
        None => Ok(to.to_owned()),
    }
}

/// Unpacks the files, directories and links of `stream` below `staging`, and fails for a path that leads out of it.
pub(super) fn receive(stream: &mut dyn Read, staging: &Path) -> io::Result<Copied> {
    let mut copied = Copied::default();
    let mut archive = Archive::new(stream);
    // Drops set-user-ID bits, which would apply to the host's root.
    archive.set_preserve_permissions(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => copied.bytes += entry.size(),
            EntryType::Directory | EntryType::Symlink | EntryType::Link => {}
            _ => {
                copied.skipped.push(path);
                continue;
            }
        }
        if !entry.unpack_in(staging)? {
            let text = format!(
                "the node sent the path `{}`, which is outside of the copied tree",
                path.display()
            );
            return Err(io::Error::other(text));
        }
        copied.entries += 1;
    }
    // Read the padding after the end as well, so that the sender does not get SIGPIPE.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    use tar::{EntryType, Header};

    use super::{destination, receive};

    fn entry(kind: EntryType, path: &str, link: &str, text: &str) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o6755);
        header.set_size(text.len() as u64);
        // Written directly, since the library's setters refuse malicious paths.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len().div_ceil(512) * 512, 0);
        bytes
    }

    #[test]
    fn paths_out_of_the_staging_directory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, outside) = (dir.path().join("staging"), dir.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        let file = |path: &str| entry(EntryType::Regular, path, "", "text");
        let link = |path: &str, to: &str| entry(EntryType::Symlink, path, to, "");
        let outside_text = outside.display().to_string();
        for stream in [
            file("../outside/x"),
            [link("a", "../outside"), file("a/x")].concat(),
            [link("a", &outside_text), file("a/x")].concat(),
            [link("a", ".."), link("b", "a/outside"), file("b/x")].concat(),
            entry(EntryType::Link, "a", "../outside/secret", ""),
        ] {
            fs::write(outside.join("secret"), "secret").unwrap();
            fs::create_dir_all(&staging).unwrap();
            assert!(receive(&mut stream.as_slice(), &staging).is_err());
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
            fs::remove_dir_all(&staging).unwrap();
        }
    }

    #[test]
    fn devices_are_skipped_and_set_user_id_bits_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let stream = [
            entry(EntryType::Directory, "./a", "", ""),
            entry(EntryType::Char, "./a/null", "", ""),
            entry(EntryType::Regular, "./a/program", "", "text"),
        ];
        let copied = receive(&mut stream.concat().as_slice(), dir.path()).unwrap();
        assert_eq!((copied.entries, copied.bytes), (2, 4));
        assert_eq!(copied.skipped, [Path::new("./a/null")]);
        let found = fs::metadata(dir.path().join("a/program")).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o755);
        assert_eq!(found.uid(), rustix::process::geteuid().as_raw());
        assert!(!dir.path().join("a/null").exists());
    }

    #[test]
    fn destination_needs_an_existing_directory() {
        let dir = tempfile::tempdir().unwrap();
        let name = Some(OsStr::new("hosts"));
        assert_eq!(destination(dir.path(), name).unwrap(), dir.path().join("hosts"));
        assert_eq!(
            destination(&dir.path().join("new"), name).unwrap(),
            dir.path().join("new")
        );
        assert_eq!(destination(Path::new("new"), name).unwrap(), Path::new("new"));
        for missing in [dir.path().join("new/"), dir.path().join("none/new")] {
            let message = destination(&missing, name).unwrap_err();
            assert!(message.starts_with("there is no directory `"), "{message}");
        }
    }
}
