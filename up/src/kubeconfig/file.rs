//! A file of the user's, changed as kubectl would change it.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use parbake_machine::files::failed;

use super::document::Document;
use crate::error::KubeconfigError;

/// How long another program may hold the lock: they change a file in milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);
/// Mode of a new kubeconfig: there are keys in it.
const MODE: u32 = 0o600;

/// The absolute path of the file itself, where `path` is or leads through a symbolic link. It need not exist.
///
/// # Errors
/// Its directory cannot be made.
pub(super) fn real(path: &Path) -> Result<PathBuf, KubeconfigError> {
    let not_found = |error| KubeconfigError::from(failed("find", path)(error));
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map_err(not_found),
    }
    let name = path
        .file_name()
        .ok_or_else(|| not_found(io::ErrorKind::InvalidInput.into()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !parent.exists() {
        make_dir(parent).map_err(failed("make", parent))?;
    }
    Ok(parent.canonicalize().map_err(not_found)?.join(name))
}

/// A directory of the one above it: of the user whose home it is, also under sudo.
fn make_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    let above = dir.canonicalize()?;
    let above = above.parent().unwrap_or(Path::new("/")).metadata()?;
    chown(dir, Some(above.uid()), Some(above.gid()))
}

/// Changes the file at `path`, whole or not at all; it is not written if `change` changes nothing. Owner and mode stay.
///
/// # Errors
/// What is wrong with the content, or with the file. It is as it was then.
pub(super) fn edit<T>(
    path: &Path,
    change: impl FnOnce(&mut Document) -> Result<T, String>,
) -> Result<T, KubeconfigError> {
    let _lock = Lock::take(path)?;
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(KubeconfigError::of(path)("it is no text".to_owned()));
        }
        text => Some(text.map_err(failed("read", path))?),
    };
    let of_content = |problem| KubeconfigError::of(path)(problem);
    let before = Document::parse(text.as_deref().unwrap_or_default()).map_err(of_content)?;
    let mut document = before.clone();
    let outcome = change(&mut document).map_err(of_content)?;
    if document != before {
        let text = document.text().map_err(of_content)?;
        write(path, &text).map_err(failed("write", path))?;
    }
    Ok(outcome)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".parbake-kubeconfig.")
        .tempfile_in(parent)?;
    file.write_all(text.as_bytes())?;
    // A new file belongs to whom its directory does.
    let (like, mode) = match path.metadata() {
        Ok(old) => (old.clone(), old.mode() & 0o7777),
        Err(_) => (parent.metadata()?, MODE),
    };
    give(file.as_file(), file.path(), &like, mode)?;
    file.persist(path)?;
    Ok(())
}

fn give(file: &File, path: &Path, like: &Metadata, mode: u32) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        chown(path, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// What keeps kubectl and other clients from changing the file meanwhile: a file beside it (`clientcmd.ModifyConfig`).
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self, KubeconfigError> {
        let mut name = OsString::from(path);
        name.push(".lock");
        let lock = PathBuf::from(name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match File::create_new(&lock) {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let path = path.to_owned();
                    return Err(KubeconfigError::Locked { path, lock });
                }
                Err(error) => return Err(failed("lock", path)(error).into()),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!("could not remove the lock `{}`: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::super::document::Entry;
    use super::{edit, real};
    use crate::error::KubeconfigError;

    const OWN: &str = "clusters: [{cluster: {server: x}}]\nusers: [{user: {}}]\n";

    fn put(path: &std::path::Path) -> Result<(), KubeconfigError> {
        edit(path, |document| {
            document.put("parbake-ci", &Entry::of(OWN).unwrap())
        })
    }

    #[test]
    fn owner_mode_and_link_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&file, "kind: Config\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        chown(&file, Some(1234), Some(4321)).unwrap();
        symlink("real", &link).unwrap();
        put(&real(&link).unwrap()).unwrap();
        let found = fs::symlink_metadata(&file).unwrap();
        assert_eq!(
            (found.uid(), found.gid(), found.mode() & 0o7777),
            (1234, 4321, 0o640)
        );
        assert!(link.is_symlink() && fs::read_to_string(&link).unwrap().contains("parbake-ci"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_file_is_its_directorys_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(1234), Some(4321)).unwrap();
        let file = real(&dir.path().join(".kube/config")).unwrap();
        put(&file).unwrap();
        let found = fs::metadata(&file).unwrap();
        assert_eq!(
            (found.uid(), found.gid(), found.mode() & 0o7777),
            (1234, 4321, 0o600)
        );
    }

    #[test]
    fn what_is_locked_or_broken_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, lock) = (dir.path().join("config"), dir.path().join("config.lock"));
        for content in [&b"a: [\n"[..], b"\xff\xfe"] {
            fs::write(&file, content).unwrap();
            assert!(matches!(put(&file), Err(KubeconfigError::Content { .. })));
            assert_eq!(fs::read(&file).unwrap(), content);
            assert!(!lock.exists());
        }
        fs::write(&file, "").unwrap();
        fs::write(&lock, "").unwrap();
        assert!(matches!(put(&file), Err(KubeconfigError::Locked { .. })));
        assert!(fs::read(&file).unwrap().is_empty() && lock.exists());
    }
}
