//! From a node to the host.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use parbake_cluster::NodeName;
use tar::{Archive, EntryType};

use super::{Copied, CopyError};
use crate::{Cluster, Error};

/// Sends a file or directory. That a file changes meanwhile (exit code 1) is what logs do.
const SEND: &str = r#"
fail() { echo "$1" >&2; exit 64; }
path=$(realpath --canonicalize-existing -- "$1" 2>/dev/null) || fail "there is no file or directory \`$1\`"
[ "$path" != / ] || fail "name a file or directory below \`/\`"
cd -- "$(dirname -- "$path")"
tar --create --file=- --warning=no-file-changed -- "./$(basename -- "$path")" || [ $? = 1 ]
"#;

pub(super) fn copy(cluster: &Cluster, node: &NodeName, from: &str, to: &Path) -> Result<Copied, Error> {
    let name = Path::new(from).file_name().map(OsStr::to_owned);
    let refused = |why: String| CopyError::Refused {
        direction: "from",
        node: node.to_string(),
        why,
    };
    let place = place(to, name.as_deref()).map_err(refused)?;
    let parent = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let stage = tempfile::Builder::new().prefix(".parbake-cp.").tempdir_in(parent);
    let stage = stage.map_err(CopyError::write(parent))?;
    let send = cluster
        .running()
        .command(node.as_str(), ["sh", "-euc", SEND, "sh", from])?;
    let copied = send.drain(|stream| receive(stream, stage.path()));
    let mut copied = copied.map_err(CopyError::of_node("from", node.as_str()))?;
    let only = fs::read_dir(stage.path()).and_then(|mut entries| entries.next().transpose());
    let Some(only) = only.map_err(CopyError::read(stage.path()))? else {
        return Err(refused(format!("`{from}` is no file or directory that could be copied")).into());
    };
    let is_dir = only.file_type().is_ok_and(|kind| kind.is_dir());
    if is_dir && place.symlink_metadata().is_ok() || place.is_dir() {
        let place = place.display();
        return Err(refused(format!(
            "`{place}` is there already; remove it, or name another place"
        ))
        .into());
    }
    fs::rename(only.path(), &place).map_err(CopyError::write(&place))?;
    copied.to = place;
    Ok(copied)
}

/// Where what is called `name` goes, by the path that was given.
fn place(to: &Path, name: Option<&OsStr>) -> Result<PathBuf, String> {
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
        Some(missing) => Err(format!("there is no directory `{}` here", missing.display())),
        None => Ok(to.to_owned()),
    }
}

/// Unpacks what the node sends below `stage`: files, directories and links only, and none through a link that leads out.
fn receive(stream: &mut dyn Read, stage: &Path) -> io::Result<Copied> {
    let mut copied = Copied::default();
    let mut archive = Archive::new(stream);
    // No set-user-ID programs of the node's root on the host.
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
        if !entry.unpack_in(stage)? {
            let text = format!(
                "the node sent the path `{}`, which leads elsewhere",
                path.display()
            );
            return Err(io::Error::other(text));
        }
        copied.entries += 1;
    }
    // Blocks of zeros may follow the end, and whoever writes them must not be cut off.
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

    use super::{place, receive};

    fn entry(kind: EntryType, path: &str, link: &str, text: &str) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o6755);
        header.set_size(text.len() as u64);
        // As a liar writes it: the library's own setters refuse such paths.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len().div_ceil(512) * 512, 0);
        bytes
    }

    #[test]
    fn nothing_is_unpacked_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (stage, outside) = (dir.path().join("stage"), dir.path().join("outside"));
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
            fs::create_dir_all(&stage).unwrap();
            assert!(receive(&mut stream.as_slice(), &stage).is_err());
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
            fs::remove_dir_all(&stage).unwrap();
        }
    }

    #[test]
    fn devices_stay_behind_and_programs_are_no_masters() {
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
        assert_eq!(found.uid(), own_uid());
        assert!(!dir.path().join("a/null").exists());
    }

    fn own_uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn places_are_in_directories_that_exist() {
        let dir = tempfile::tempdir().unwrap();
        let name = Some(OsStr::new("hosts"));
        assert_eq!(place(dir.path(), name).unwrap(), dir.path().join("hosts"));
        assert_eq!(
            place(&dir.path().join("new"), name).unwrap(),
            dir.path().join("new")
        );
        assert_eq!(place(Path::new("new"), name).unwrap(), Path::new("new"));
        for wrong in [dir.path().join("new/"), dir.path().join("none/new")] {
            assert!(
                place(&wrong, name)
                    .unwrap_err()
                    .starts_with("there is no directory `")
            );
        }
    }
}
