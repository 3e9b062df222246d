//! The lock on a cluster's directory, and what only its holder may do.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parbake_machine::fs::files::{failed, replace};
use parbake_machine::supervisor::Stopped;
use rustix::fs::{FlockOperation, flock};

use super::record::FILE;
use super::{
    ADMIN, Phase, Record, SUPER_ADMIN, admin_kubeconfig, cluster_dir, kubeconfig, own_kubeconfig, read,
    remove_dir,
};
use crate::error::Error;
use crate::identity::with_server;
use crate::name::ClusterName;

/// The directory of freezes, below the state directory.
const FREEZES: &str = "freeze";
/// How often a directory is created again after another command removed its empty parent.
const CREATE_ATTEMPTS: u32 = 100;

/// A cluster's directory, locked by this process.
#[derive(Debug)]
pub(crate) struct ClusterLock {
    /// Canonical.
    dir: PathBuf,
    _file: File,
}

impl ClusterLock {
    /// Locks an existing cluster and reads its record.
    pub(crate) fn existing(state: &Path, name: &ClusterName) -> Result<(Self, Record), Error> {
        let not_found = || Error::NotFound { name: name.clone() };
        // Locking would create the directory.
        if !cluster_dir(state, name).exists() {
            return Err(not_found());
        }
        let lock = Self::acquire(state, name)?;
        if let Some(record) = read(&lock.dir)? {
            return Ok((lock, record));
        }
        lock.remove()?;
        Err(not_found())
    }

    /// Locks an empty directory for a new cluster. Removes what killed commands left: an `up` of this name, and freezes.
    ///
    /// # Errors
    /// There is a cluster of this name, or another command works on it.
    pub(crate) fn for_new(state: &Path, name: &ClusterName) -> Result<Self, Error> {
        sweep_freezes(state)?;
        let lock = Self::acquire(state, name)?;
        match read(&lock.dir)? {
            Some(record) if record.phase != Phase::Starting => {
                Err(Error::AlreadyExists { name: name.clone() })
            }
            _ => {
                lock.remove()?;
                Self::acquire(state, name)
            }
        }
    }

    /// Locks the directory for a freeze of `name`, which is removed with the lock's [`Self::remove`].
    pub(crate) fn for_freeze(state: &Path, name: &ClusterName) -> Result<Self, Error> {
        let dir = state.join(FREEZES).join(name.as_str());
        Self::try_acquire(dir)?.ok_or_else(|| Error::Busy { name: name.clone() })
    }

    /// Locks the directory of `name`, which is created if missing.
    pub(crate) fn acquire(state: &Path, name: &ClusterName) -> Result<Self, Error> {
        Self::try_acquire(cluster_dir(state, name))?.ok_or_else(|| Error::Busy { name: name.clone() })
    }

    /// Locks `dir`, which is created if missing; `None` if another command holds the lock.
    fn try_acquire(dir: PathBuf) -> Result<Option<Self>, Error> {
        loop {
            create(&dir).map_err(failed("create", &dir))?;
            // The last holder of the lock may have removed the directory.
            let file = match File::open(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(failed("open", &dir))?,
            };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Ok(None);
            }
            let same = |found: fs::Metadata| file.metadata().is_ok_and(|own| own.ino() == found.ino());
            if fs::metadata(&dir).is_ok_and(same) {
                let dir = fs::canonicalize(&dir).map_err(failed("resolve", &dir))?;
                return Ok(Some(Self { dir, _file: file }));
            }
        }
    }

    /// The directory, as a canonical path.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes the record atomically.
    pub(crate) fn write(&self, record: &Record) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(record).unwrap_or_default();
        write_private(&self.dir.join(FILE), &text)
    }

    /// Writes the administrator's kubeconfig, for users and for parbake, and that of the super administrator. They contain
    /// keys of the cluster.
    pub(crate) fn write_kubeconfigs(&self, admin: &str, own: &str) -> Result<(), Error> {
        write_private(&self.dir.join(SUPER_ADMIN), own)?;
        write_private(&self.dir.join(ADMIN), admin)?;
        write_private(&kubeconfig(&self.dir), admin)
    }

    /// Changes the server in parbake's own kubeconfigs.
    pub(crate) fn set_kubeconfig_server(&self, server: &str) -> Result<(), Error> {
        for path in [admin_kubeconfig(&self.dir), own_kubeconfig(&self.dir)] {
            let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
            write_private(&path, &with_server(&text, server))?;
        }
        Ok(())
    }

    /// Removes the directories of the machines.
    pub(crate) fn remove_machines(&self) -> Result<(), Error> {
        remove_dir(&self.dir.join("machines"))
    }

    /// Flushes the machines' writes to disk, as the power-off of a host does.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let synced = File::open(&self.dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
        Ok(synced.map_err(failed("sync", &self.dir))?)
    }

    /// Ends what runs of the cluster and removes its directory.
    pub(crate) fn remove(self) -> Result<(), Error> {
        let _stopped = Stopped::ensure(&self.dir)?;
        fs::remove_dir_all(&self.dir).map_err(failed("remove", &self.dir))?;
        if let Some(parent) = self.dir.parent() {
            // Fails if there are other clusters.
            let _ = fs::remove_dir(parent);
        }
        Ok(())
    }
}

/// Removes what killed freezes left.
///
/// # Errors
/// A machine could not be ended or a file not be removed.
pub(crate) fn sweep_freezes(state: &Path) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(state.join(FREEZES)) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        // A directory that is locked belongs to a running freeze.
        if let Some(lock) = ClusterLock::try_acquire(entry.path())? {
            lock.remove()?;
        }
    }
    Ok(())
}

/// Creates a directory and its parents, the lowest of which another command may remove at the same time because it is empty.
fn create(dir: &Path) -> io::Result<()> {
    for _ in 0..CREATE_ATTEMPTS {
        match fs::create_dir_all(dir) {
            // The parent was removed before the directory was created in it, or after it was found to exist.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                ) => {}
            created => return created,
        }
    }
    fs::create_dir_all(dir)
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    Ok(replace(path, text.as_bytes(), 0o600).map_err(failed("write", path))?)
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::{ClusterLock, Phase, admin_kubeconfig, cluster_dir, kubeconfig, own_kubeconfig};
    use crate::state::{restore_kubeconfig, sweep_freezes, test_record};
    use crate::{ClusterName, Error};

    #[test]
    fn server_changes_in_parbakes_own_kubeconfigs() {
        let state = tempfile::tempdir().unwrap();
        let lock = ClusterLock::acquire(state.path(), &ClusterName::default()).unwrap();
        let text = |own: &str, port: u16| format!("user: {own}\n    server: \"https://127.0.0.1:{port}\"\n");
        lock.write_kubeconfigs(&text("admin", 1), &text("own", 1))
            .unwrap();
        lock.set_kubeconfig_server("https://127.0.0.1:2").unwrap();
        for (path, own) in [
            (admin_kubeconfig(lock.dir()), "admin"),
            (own_kubeconfig(lock.dir()), "own"),
        ] {
            assert_eq!(fs::read_to_string(path).unwrap(), text(own, 2));
        }
    }

    #[test]
    fn deleted_kubeconfig_is_restored() {
        let state = tempfile::tempdir().unwrap();
        let lock = ClusterLock::acquire(state.path(), &ClusterName::default()).unwrap();
        assert_eq!(restore_kubeconfig(lock.dir()).unwrap(), None);
        lock.write_kubeconfigs("admin", "own").unwrap();
        let users = kubeconfig(lock.dir());
        fs::remove_file(&users).unwrap();
        assert_eq!(restore_kubeconfig(lock.dir()).unwrap(), Some(users.clone()));
        assert_eq!(fs::read_to_string(&users).unwrap(), "admin");
        fs::write(&users, "edited").unwrap();
        restore_kubeconfig(lock.dir()).unwrap();
        assert_eq!(fs::read_to_string(&users).unwrap(), "edited");
    }

    #[test]
    fn second_lock_on_a_cluster_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let name: ClusterName = "one".parse().unwrap();
        let lock = ClusterLock::acquire(state.path(), &name).unwrap();
        assert!(matches!(
            ClusterLock::acquire(state.path(), &name),
            Err(Error::Busy { .. })
        ));
        lock.remove().unwrap();
        assert!(!cluster_dir(state.path(), &name).exists());
        ClusterLock::acquire(state.path(), &name).unwrap();
    }

    #[test]
    fn new_cluster_replaces_only_an_unfinished_one() {
        let state = tempfile::tempdir().unwrap();
        let name = ClusterName::default();
        for (phase, replaced) in [
            (Phase::Starting, true),
            (Phase::Created, false),
            (Phase::Up, false),
            (Phase::Restarting, false),
        ] {
            let lock = ClusterLock::acquire(state.path(), &name).unwrap();
            lock.write(&crate::Record {
                phase,
                ..test_record()
            })
            .unwrap();
            let file = lock.dir().join("file");
            fs::write(&file, "").unwrap();
            drop(lock);
            let found = ClusterLock::for_new(state.path(), &name);
            assert_eq!(found.is_ok(), replaced, "{phase:?}");
            assert_eq!(file.exists(), !replaced, "{phase:?}");
        }
    }

    #[test]
    fn sweep_removes_only_unlocked_freezes() {
        let state = tempfile::tempdir().unwrap();
        sweep_freezes(state.path()).unwrap();
        let [live, dead] = ["live", "dead"].map(|name| name.parse::<ClusterName>().unwrap());
        let lock = ClusterLock::for_freeze(state.path(), &live).unwrap();
        let killed = ClusterLock::for_freeze(state.path(), &dead).unwrap();
        let left = killed.dir().to_owned();
        drop(killed);
        sweep_freezes(state.path()).unwrap();
        assert!(lock.dir().exists() && !left.exists());
    }

    #[test]
    fn clusters_can_be_created_and_removed_in_parallel() {
        let state = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            for number in 0..4 {
                let name: ClusterName = format!("c{number}").parse().unwrap();
                let state = state.path();
                scope.spawn(move || {
                    for _ in 0..200 {
                        ClusterLock::acquire(state, &name).unwrap().remove().unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    }
}
