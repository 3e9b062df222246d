//! The state of clusters on disk.
//!
//! ```text
//! DIR/clusters/NAME/          locked (flock) by the command that works on the cluster
//! ├── cluster.json            the cluster's record, written before anything else
//! ├── cluster.toml            its configuration, see `config`
//! ├── kubeconfig              the administrator's kubeconfig, for users, who may edit it
//! ├── admin.kubeconfig        parbake's own copy of it
//! ├── super-admin.kubeconfig  parbake's own, which bypasses RBAC
//! ├── supervisor.json, .log   the running machines, see `parbake_machine::supervisor`
//! └── machines/node01/        a machine's own directory, see `parbake_machine::fs::dirs`
//!
//! DIR/freeze/NAME/            the same layout, for the copy that a freeze of NAME works on
//! ```
//!
//! The record holds what was requested. Whether machines run, are paused or have ended is asked of the host each time
//! ([`crate::ClusterState`]), so a crash or a reboot leaves no state to repair.
//!
//! If `up` is killed, the cluster stays in [`Phase::Starting`] without a lock; the next `up` removes it.

mod lock;
mod pending;
mod record;
mod swapped;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parbake_artifact::Digest;
use parbake_machine::fs::files::{failed, replace};

use crate::error::Error;
use crate::name::ClusterName;
pub(crate) use lock::{ClusterLock, sweep_freezes};
pub use pending::{FollowUp, PendingChanges, Undo};
#[cfg(test)]
pub(crate) use record::tests::{description as test_description, record as test_record};
pub use record::{Phase, Record};
pub(crate) use record::{read, read_existing};
pub use swapped::Swapped;

const KUBECONFIG: &str = "kubeconfig";
const ADMIN: &str = "admin.kubeconfig";
const SUPER_ADMIN: &str = "super-admin.kubeconfig";

/// The absolute path of the state directory `dir`, with symbolic links resolved. The directory need not exist. Only a relative
/// path needs a working directory.
///
/// Names on the host (cgroups, network namespaces) are derived from the path, so one directory must have one path.
///
/// # Errors
/// `dir` is relative and there is no working directory, or the path is invalid or not UTF-8.
pub fn resolve_state_dir(dir: &Path) -> Result<PathBuf, Error> {
    let failed = |source| Error::StateDir {
        path: dir.to_owned(),
        source,
    };
    let absolute = std::path::absolute(dir).map_err(failed)?;
    let resolved = resolve_missing(&absolute).map_err(failed)?;
    match resolved.to_str() {
        Some(_) => Ok(resolved),
        // It is part of files in JSON.
        None => Err(failed(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not UTF-8; choose another directory with `--dir`",
        ))),
    }
}

/// Resolves the symbolic links of `absolute`, whose last components may be missing.
fn resolve_missing(absolute: &Path) -> io::Result<PathBuf> {
    let mut missing = Vec::new();
    let mut existing = absolute;
    loop {
        match (
            fs::canonicalize(existing),
            existing.parent(),
            existing.file_name(),
        ) {
            (Ok(resolved), _, _) => {
                return Ok(missing.iter().rev().fold(resolved, |path, name| path.join(name)));
            }
            (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
                missing.push(name);
                existing = parent;
            }
            // Only root may use the directory. Let the command itself report that.
            (Err(error), _, _) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(absolute.to_owned());
            }
            (Err(error), _, _) => return Err(error),
        }
    }
}

/// The directory of the cluster `name`.
pub fn cluster_dir(state: &Path, name: &ClusterName) -> PathBuf {
    state.join("clusters").join(name.as_str())
}

/// A cluster's name on the host, for cgroups and network namespaces. State directories may have clusters of the same name.
pub(crate) fn host_id(name: &ClusterName, lock: &ClusterLock) -> String {
    let digest = Digest::of(lock.dir().as_os_str().as_encoded_bytes());
    format!("{name}-{}", &digest.hex()[..8])
}

/// The administrator's kubeconfig of the cluster in `dir`, for users. They may have edited or deleted it.
pub(crate) fn kubeconfig(dir: &Path) -> PathBuf {
    dir.join(KUBECONFIG)
}

/// Parbake's own copy of the administrator's kubeconfig. Old clusters have only that for users.
pub(crate) fn admin_kubeconfig(dir: &Path) -> PathBuf {
    let own = dir.join(ADMIN);
    if own.exists() { own } else { kubeconfig(dir) }
}

/// The path of the users' kubeconfig, which is written again if a user deleted it. `None` before the first start.
pub(crate) fn restore_kubeconfig(dir: &Path) -> Result<Option<PathBuf>, Error> {
    let (path, own) = (kubeconfig(dir), admin_kubeconfig(dir));
    if !path.exists() {
        match fs::read(&own) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => {
                replace(&path, &text.map_err(failed("read", &own))?, 0o600).map_err(failed("write", &path))?
            }
        }
    }
    Ok(Some(path))
}

/// The kubeconfig that parbake itself uses for the cluster in `dir`. Old clusters have only the administrator's.
pub(crate) fn own_kubeconfig(dir: &Path) -> PathBuf {
    let own = dir.join(SUPER_ADMIN);
    if own.exists() { own } else { kubeconfig(dir) }
}

/// Removes the directory `dir` if it exists.
pub(crate) fn remove_dir(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir)(error).into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::process::Command;

    use super::{ClusterLock, host_id, resolve_state_dir};
    use crate::ClusterName;

    #[test]
    fn state_dir_is_absolute_and_canonical() {
        let root = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(root.path()).unwrap().join("real");
        let link = root.path().join("link");
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        assert_eq!(resolve_state_dir(&real).unwrap(), real);
        assert_eq!(resolve_state_dir(&link).unwrap(), real);
        assert_eq!(
            resolve_state_dir(&link.join("new/dir")).unwrap(),
            real.join("new/dir")
        );
        let relative = resolve_state_dir(Path::new(".parbake")).unwrap();
        assert_eq!(relative, env::current_dir().unwrap().join(".parbake"));
        assert!(resolve_state_dir(&root.path().join("new/../dir")).is_err());
        let error = resolve_state_dir(&root.path().join(OsStr::from_bytes(b"\xff"))).unwrap_err();
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert!(reason.starts_with("it is not UTF-8"), "{reason}");
    }

    #[test]
    fn host_id_is_the_same_through_a_symlink() {
        let root = tempfile::tempdir().unwrap();
        let (real, link) = (root.path().join("real"), root.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        let name = ClusterName::default();
        let id = |state: &Path| host_id(&name, &ClusterLock::acquire(state, &name).unwrap());
        let by_real_path = id(&real);
        assert_eq!(id(&link), by_real_path);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(id(other.path()), by_real_path);
    }

    /// The working directory belongs to the whole process, so the check runs in a child.
    #[test]
    fn absolute_state_dir_needs_no_working_directory() {
        const STATE: &str = "PARBAKE_TEST_STATE_DIR";
        if let Some(state) = env::var_os(STATE) {
            fs::remove_dir(env::current_dir().unwrap()).unwrap();
            let state = Path::new(&state);
            assert_eq!(resolve_state_dir(state).unwrap(), state);
            let name = ClusterName::default();
            ClusterLock::acquire(state, &name).unwrap().remove().unwrap();
            assert!(resolve_state_dir(Path::new("relative")).is_err());
            return;
        }
        let (state, gone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let status = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "state::tests::absolute_state_dir_needs_no_working_directory",
            ])
            .env(STATE, fs::canonicalize(state.path()).unwrap())
            .current_dir(gone.path())
            .status();
        assert!(status.unwrap().success());
    }
}
