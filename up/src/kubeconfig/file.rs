//! Edits a user's kubeconfig in the way kubectl does.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use parbake_machine::fs::files::{failed, replace};

use super::document::Document;
use crate::error::KubeconfigError;

/// How long another program may hold the lock. An edit takes milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The mode of a new kubeconfig, which holds a key.
const PRIVATE: u32 = 0o600;
/// The permissions that an existing kubeconfig may keep: none for others.
const OWNER_AND_GROUP: u32 = 0o660;

/// The user and group that called sudo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SudoUser {
    pub uid: u32,
    pub gid: u32,
}

impl SudoUser {
    /// Reads `SUDO_UID` and `SUDO_GID`; `None` without sudo.
    pub fn from_env() -> Option<Self> {
        let number = |name: &str| std::env::var(name).ok()?.parse().ok();
        Some(Self {
            uid: number("SUDO_UID")?,
            gid: number("SUDO_GID")?,
        })
    }
}

/// The absolute path of `path`, with symbolic links resolved. The file need not exist; missing directories are created.
///
/// # Errors
/// The path cannot be resolved or the directory not be created.
pub(super) fn resolve(path: &Path, sudo: Option<SudoUser>) -> Result<PathBuf, KubeconfigError> {
    let unresolved = |error| KubeconfigError::from(failed("resolve", path)(error));
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map_err(unresolved),
    }
    let name = path
        .file_name()
        .ok_or_else(|| unresolved(io::ErrorKind::InvalidInput.into()))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_dirs(parent, sudo).map_err(failed("create", parent))?;
    Ok(parent.canonicalize().map_err(unresolved)?.join(name))
}

/// Checks that the resolved `path`, or its directory if it is missing, belongs to the user `owner`: links in a user's home must
/// not lead root to files of others.
///
/// # Errors
/// It belongs to another user, or cannot be read.
pub(super) fn check_owner(path: &Path, owner: u32) -> Result<(), KubeconfigError> {
    let existing = match path.parent() {
        Some(parent) if !path.exists() => parent,
        _ => path,
    };
    let found = existing.metadata().map_err(failed("read", existing))?;
    match found.uid() == owner {
        true => Ok(()),
        false => Err(KubeconfigError::Owner {
            path: existing.to_owned(),
            owner,
        }),
    }
}

/// Creates `dir` and its parents where they are missing.
fn create_dirs(dir: &Path, sudo: Option<SudoUser>) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.exists() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_dirs(parent, sudo)?;
    }
    match fs::create_dir(dir) {
        // Another command was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created.and_then(|()| own_like_parent(&dir.canonicalize()?, sudo)),
    }
}

/// Gives a new file or directory to the owner of its directory, so that a user's home stays the user's under sudo. In a
/// directory that anyone may write to, such as `/tmp`, it belongs to the user that called sudo.
fn own_like_parent(path: &Path, sudo: Option<SudoUser>) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/")).metadata()?;
    let (uid, gid) = match sudo {
        Some(SudoUser { uid, gid }) if parent.mode() & 0o002 != 0 => (uid, gid),
        _ => (parent.uid(), parent.gid()),
    };
    let metadata = path.metadata()?;
    if (metadata.uid(), metadata.gid()) == (uid, gid) {
        return Ok(());
    }
    chown(path, Some(uid), Some(gid))
}

/// Writes a kubeconfig of its own to `path`, readable by its owner only. A pipe or device is written to.
pub(super) fn write_new(path: &Path, content: &[u8], sudo: Option<SudoUser>) -> io::Result<()> {
    let is_new = !path.exists();
    replace(path, content, PRIVATE)?;
    if is_new {
        own_like_parent(&path.canonicalize()?, sudo)?;
    }
    Ok(())
}

/// Applies `edit` to the kubeconfig at `path`, atomically and under kubectl's lock. Owner, mode and access control list are
/// preserved, but others lose access. The file is not written if nothing changes.
///
/// # Errors
/// The file is not a regular file or not a kubeconfig, or it is locked or cannot be written. It is unchanged then.
pub(super) fn edit<T>(
    path: &Path,
    sudo: Option<SudoUser>,
    edit: impl FnOnce(&mut Document) -> Result<T, String>,
) -> Result<T, KubeconfigError> {
    let old = match path.metadata() {
        Ok(metadata) if !metadata.is_file() => {
            return Err(KubeconfigError::NotRegular {
                path: path.to_owned(),
            });
        }
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", path)(error).into()),
    };
    let _lock = Lock::acquire(path)?;
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(KubeconfigError::invalid(path)("it is not UTF-8".to_owned()));
        }
        text => text.map_err(failed("read", path))?,
    };
    let before = Document::parse(&text).map_err(KubeconfigError::invalid(path))?;
    let mut document = before.clone();
    let outcome = edit(&mut document).map_err(KubeconfigError::invalid(path))?;
    if document != before {
        let text = document.text().map_err(KubeconfigError::invalid(path))?;
        write(path, &text, old.as_ref(), sudo).map_err(failed("write", path))?;
    }
    Ok(outcome)
}

fn write(path: &Path, text: &str, old: Option<&Metadata>, sudo: Option<SudoUser>) -> io::Result<()> {
    let mode = if old.is_some() { OWNER_AND_GROUP } else { PRIVATE };
    replace(path, text.as_bytes(), mode)?;
    if old.is_none() {
        own_like_parent(path, sudo)?;
    }
    Ok(())
}

/// The lock file beside a kubeconfig that kubectl and other clients honour (`clientcmd.ModifyConfig`).
struct Lock(PathBuf);

impl Lock {
    fn acquire(path: &Path) -> Result<Self, KubeconfigError> {
        let mut name = OsString::from(path);
        name.push(".lock");
        let lock = PathBuf::from(name);
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match File::create_new(&lock) {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && Instant::now() < deadline => {
                    thread::sleep(LOCK_POLL_INTERVAL);
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
    use std::path::Path;

    use rustix::fs::{CWD, FileType, Mode, XattrFlags, getxattr, mknodat, setxattr};
    use rustix::io::Errno;

    use super::super::document::Entry;
    use super::{SudoUser, check_owner, edit, resolve, write_new};
    use crate::error::KubeconfigError;

    const ACL: &str = "system.posix_acl_access";
    const OWN: &str = "clusters: [{cluster: {server: x}}]\nusers: [{user: {}}]\n";
    const SUDO: Option<SudoUser> = Some(SudoUser { uid: 1000, gid: 1001 });

    fn put(path: &Path) -> Result<(), KubeconfigError> {
        edit(path, SUDO, |document| {
            document.put("parbake-ci", &Entry::parse(OWN).unwrap())
        })
    }

    fn owner_and_mode(path: &Path) -> (u32, u32, u32) {
        let found = fs::symlink_metadata(path).unwrap();
        (found.uid(), found.gid(), found.mode() & 0o7777)
    }

    #[test]
    fn owner_mode_and_link_are_preserved() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real"), dir.path().join("link"));
        for (mode, expected) in [(0o640, 0o640), (0o600, 0o600), (0o644, 0o640)] {
            fs::write(&file, "kind: Config\n").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            chown(&file, Some(1234), Some(4321)).unwrap();
            let _ = fs::remove_file(&link);
            symlink("real", &link).unwrap();
            put(&resolve(&link, SUDO).unwrap()).unwrap();
            assert_eq!(owner_and_mode(&file), (1234, 4321, expected));
            assert!(link.is_symlink() && fs::read_to_string(&link).unwrap().contains("parbake-ci"));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        }
    }

    #[test]
    fn access_control_list_is_preserved_without_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        fs::write(&file, "kind: Config\n").unwrap();
        // u::rw-, u:1234:r--, g::---, mask::r--, o::r--
        let acl = |other: u16| {
            let entries: [(u16, u16, u32); 5] = [
                (1, 6, !0),
                (2, 4, 1234),
                (4, 0, !0),
                (0x10, 4, !0),
                (0x20, other, !0),
            ];
            let entries = entries.iter().flat_map(|(tag, perm, id)| {
                [tag.to_le_bytes(), perm.to_le_bytes()]
                    .concat()
                    .into_iter()
                    .chain(id.to_le_bytes())
            });
            2u32.to_le_bytes().into_iter().chain(entries).collect::<Vec<u8>>()
        };
        match setxattr(&file, ACL, &acl(4), XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => {
                return eprintln!("skipped: the file system has no access control lists");
            }
            set => set.unwrap(),
        }
        put(&file).unwrap();
        let mut found = [0; 64];
        let length = getxattr(&file, ACL, found.as_mut_slice()).unwrap();
        assert_eq!(found[..length], acl(0));
        assert_eq!(owner_and_mode(&file).2, 0o640);
    }

    #[test]
    fn new_file_is_private_and_owned_like_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(1234), Some(4321)).unwrap();
        let file = resolve(&dir.path().join("new/.kube/config"), SUDO).unwrap();
        put(&file).unwrap();
        assert_eq!(owner_and_mode(&file), (1234, 4321, 0o600));
        for parent in ["new", "new/.kube"] {
            assert_eq!(owner_and_mode(&dir.path().join(parent)).0, 1234);
        }
    }

    #[test]
    fn file_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        chown(&home, Some(1234), Some(4321)).unwrap();
        check_owner(&resolve(&home.join(".kube/config"), None).unwrap(), 1234).unwrap();
        let (theirs, link) = (dir.path().join("theirs"), home.join("link"));
        fs::write(&theirs, "").unwrap();
        symlink(&theirs, &link).unwrap();
        symlink(dir.path(), home.join("linked")).unwrap();
        for path in [link, home.join("linked/new")] {
            let refused = check_owner(&resolve(&path, None).unwrap(), 1234);
            assert!(
                matches!(refused, Err(KubeconfigError::Owner { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn new_file_in_a_shared_directory_belongs_to_the_sudo_user() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let file = resolve(&dir.path().join("config"), SUDO).unwrap();
        put(&file).unwrap();
        assert_eq!(owner_and_mode(&file), (1000, 1001, 0o600));
    }

    #[test]
    fn written_kubeconfig_is_private_even_where_a_file_was_not() {
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(1234), Some(4321)).unwrap();
        let (new, old) = (dir.path().join("new"), dir.path().join("old"));
        write_new(&new, b"key", SUDO).unwrap();
        assert_eq!(owner_and_mode(&new), (1234, 4321, 0o600));
        fs::write(&old, "").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o644)).unwrap();
        write_new(&old, b"key", SUDO).unwrap();
        assert_eq!(owner_and_mode(&old).2, 0o600);
        write_new(Path::new("/dev/null"), b"key", SUDO).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn only_regular_files_are_edited() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for path in [Path::new("/dev/null"), dir.path(), &pipe] {
            let path = resolve(path, SUDO).unwrap();
            assert!(
                matches!(put(&path), Err(KubeconfigError::NotRegular { .. })),
                "{}",
                path.display()
            );
        }
        assert!(!Path::new("/dev/null.lock").exists());
    }

    #[test]
    fn locked_or_invalid_file_is_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let (file, lock) = (dir.path().join("config"), dir.path().join("config.lock"));
        for content in [&b"a: [\n"[..], b"\xff\xfe"] {
            fs::write(&file, content).unwrap();
            assert!(matches!(put(&file), Err(KubeconfigError::Invalid { .. })));
            assert_eq!(fs::read(&file).unwrap(), content);
            assert!(!lock.exists());
        }
        fs::write(&file, "").unwrap();
        fs::write(&lock, "").unwrap();
        let error = put(&file).unwrap_err().to_string();
        assert!(error.contains("config.lock`"), "{error}");
        assert!(fs::read(&file).unwrap().is_empty() && lock.exists());
    }
}
