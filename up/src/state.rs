//! What is known of a cluster on disk.
//!
//! ```text
//! DIR/clusters/NAME/          locked (flock) by the command that works on the cluster
//! ├── cluster.json            what it is and how far it came; written before anything else is
//! ├── kubeconfig              the administrator's way in
//! ├── super-admin.kubeconfig  our own, which no access rule keeps out
//! ├── supervisor.json, .log   what runs, see `parbake_machine::supervisor`
//! └── machines/node01/        a machine's own directory, see `parbake_machine::dirs`
//! ```
//!
//! What stands there is what was wanted; whether machines run, stand still or have ended is asked of the host each time
//! ([`crate::Condition`]), so a crash or a reboot leaves nothing to be put right.
//!
//! A cluster whose `up` was killed is [`Phase::Starting`] and nobody holds its lock: the next `up` removes it.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use parbake_artifact::{Digest, Tag};
use parbake_cluster::Description;
use parbake_machine::files::{failed, replace};
use parbake_machine::handle::Stopped;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::identity::with_server;
use crate::nodes::Changes;
use crate::swap::Swapped;
use crate::{ClusterName, Error};

/// The version of `cluster.json`. Version 1 knew neither [`Record::api`] nor [`Record::booted`], version 2 neither
/// [`Record::registry`] nor [`Record::internet`], version 3 no [`Record::swapped`].
const VERSION: u32 = 4;
const OLDEST: u32 = 1;
const FILE: &str = "cluster.json";
const KUBECONFIG: &str = "kubeconfig";
const SUPER_ADMIN: &str = "super-admin.kubeconfig";

/// How far a cluster came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It was never ready: what its machines have is of no use, and its first `start` makes all of it.
    Created,
    /// `up` is at work on it, or was killed.
    Starting,
    /// It was ready: its machines' files are worth keeping.
    Up,
    /// The same, and a later `start` is at work on it, or was killed.
    Returning,
}

/// `cluster.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of the format.
    pub version: u32,
    /// How far it came.
    pub phase: Phase,
    /// When it was made.
    pub created: Timestamp,
    /// The artifact's name in the store when it was thawed.
    pub tag: Tag,
    /// Digest of the artifact's manifest.
    pub artifact: Digest,
    /// Digests of the layers in use, which the store must keep.
    pub layers: Vec<Digest>,
    /// The cluster, with those of its nodes that run.
    pub cluster: Description,
    /// Where the host reached its API last.
    #[serde(default)]
    pub api: Option<SocketAddr>,
    /// When its machines were booted last.
    #[serde(default)]
    pub booted: Option<Timestamp>,
    /// What a command that adds or removes nodes is at, or was when it was killed.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
    /// Where the host reached its registry last.
    #[serde(default)]
    pub registry: Option<SocketAddr>,
    /// Whether it has a way to the outside whenever it runs.
    #[serde(default)]
    pub internet: bool,
    /// Programs that are not those that it came with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swapped: Vec<Swapped>,
}

impl Record {
    /// A record of a cluster that was never started.
    pub(crate) fn new(
        phase: Phase,
        tag: Tag,
        artifact: Digest,
        layers: Vec<Digest>,
        cluster: Description,
    ) -> Self {
        let created = Timestamp::now();
        Self {
            version: VERSION,
            phase,
            created,
            tag,
            artifact,
            layers,
            cluster,
            api: None,
            booted: None,
            changes: Changes::default(),
            registry: None,
            internet: false,
            swapped: Vec::new(),
        }
    }
}

/// A cluster's directory, locked by this process.
#[derive(Debug)]
pub(crate) struct Claim {
    dir: PathBuf,
    _lock: File,
}

/// Makes a directory with its parents, the lowest of which another command may remove meanwhile, since it is empty.
fn make(dir: &Path) -> io::Result<()> {
    for _ in 0..100 {
        match fs::create_dir_all(dir) {
            // Removed before the next part was made in it, or after it was found to be there.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                ) => {}
            made => return made,
        }
    }
    fs::create_dir_all(dir)
}

/// The directory of the cluster `name`.
pub fn dir_of(state: &Path, name: &ClusterName) -> PathBuf {
    state.join("clusters").join(name.as_str())
}

/// The kubeconfig of the cluster in `dir`.
pub(crate) fn kubeconfig(dir: &Path) -> PathBuf {
    dir.join(KUBECONFIG)
}

/// The kubeconfig for ourselves of the cluster in `dir`; older clusters have only the administrator's.
pub(crate) fn own_kubeconfig(dir: &Path) -> PathBuf {
    let own = dir.join(SUPER_ADMIN);
    if own.exists() { own } else { kubeconfig(dir) }
}

/// `cluster.json` of any version.
#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

impl Claim {
    /// Locks the directory of a cluster that there is, and reads what is known of it.
    pub(crate) fn existing(state: &Path, name: &ClusterName) -> Result<(Self, Record), Error> {
        let not_found = || Error::NotFound { name: name.clone() };
        // The lock would make the directory.
        if !dir_of(state, name).exists() {
            return Err(not_found());
        }
        let claim = Self::lock(state, name)?;
        if let Some(record) = read(&claim.dir)? {
            return Ok((claim, record));
        }
        claim.remove()?;
        Err(not_found())
    }

    /// Locks the directory of `name`, which is made where it is missing.
    pub(crate) fn lock(state: &Path, name: &ClusterName) -> Result<Self, Error> {
        Self::at(dir_of(state, name))?.ok_or_else(|| Error::Busy { name: name.clone() })
    }

    /// Locks the directory `dir`, which is made where it is missing; nothing where another command holds it.
    pub(crate) fn at(dir: PathBuf) -> Result<Option<Self>, Error> {
        loop {
            make(&dir).map_err(failed("make", &dir))?;
            let lock = match File::open(&dir) {
                // Whoever held it has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock.map_err(failed("open", &dir))?,
            };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Ok(None);
            }
            // Whoever held the lock before may have removed the directory.
            let same = |found: fs::Metadata| lock.metadata().is_ok_and(|own| own.ino() == found.ino());
            if fs::metadata(&dir).is_ok_and(same) {
                return Ok(Some(Self { dir, _lock: lock }));
            }
        }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes the record, whole or not at all.
    pub(crate) fn write(&self, record: &Record) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(record).unwrap_or_default();
        write_private(&self.dir.join(FILE), &text)
    }

    /// Writes the kubeconfigs, which are keys to the cluster: the administrator's and our own.
    pub(crate) fn write_kubeconfigs(&self, admin: &str, own: &str) -> Result<(), Error> {
        write_private(&self.dir.join(SUPER_ADMIN), own)?;
        write_private(&kubeconfig(&self.dir), admin)
    }

    /// Has the kubeconfigs lead to `server`.
    pub(crate) fn move_kubeconfigs(&self, server: &str) -> Result<(), Error> {
        for path in [kubeconfig(&self.dir), own_kubeconfig(&self.dir)] {
            let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
            write_private(&path, &with_server(&text, server))?;
        }
        Ok(())
    }

    /// Removes what the machines own.
    pub(crate) fn remove_machines(&self) -> Result<(), Error> {
        let dir = self.dir.join("machines");
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &dir)(error).into())
            }
            _ => Ok(()),
        }
    }

    /// Waits until what the machines wrote is on disk, as a node's own power-off does.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let synced = File::open(&self.dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
        Ok(synced.map_err(failed("sync", &self.dir))?)
    }

    /// Ends what runs of the cluster and removes its directory.
    pub(crate) fn remove(self) -> Result<(), Error> {
        let _stopped = Stopped::ensure(&self.dir)?;
        fs::remove_dir_all(&self.dir).map_err(failed("remove", &self.dir))?;
        if let Some(parent) = self.dir.parent() {
            // Not empty means that there are others.
            let _ = fs::remove_dir(parent);
        }
        Ok(())
    }
}

/// Reads the record of the cluster in `dir`; nothing where there is none.
pub(crate) fn read(dir: &Path) -> Result<Option<Record>, Error> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(failed("read", &path))?,
    };
    match serde_json::from_str::<AnyVersion>(&text) {
        Ok(AnyVersion { version: found }) if !(OLDEST..=VERSION).contains(&found) => {
            return Err(Error::Version { path, found });
        }
        _ => {}
    }
    match serde_json::from_str::<Record>(&text) {
        Ok(record) => Ok(Some(Record {
            version: VERSION,
            ..record
        })),
        Err(source) => Err(Error::Record { path, source }),
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    Ok(replace(path, text.as_bytes(), 0o600).map_err(failed("write", path))?)
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use parbake_cluster::{ClusterDomain, NodeName, Role, Subnets};
    use serde_json::Value;

    use super::{Claim, Phase, Record, dir_of, kubeconfig, own_kubeconfig, read};
    use crate::{ClusterName, Error};

    fn record() -> Record {
        let [nodes, pods, services] =
            ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"].map(|net| net.parse().unwrap());
        let names = [(NodeName::numbered(1), Role::ControlPlane)];
        let cluster = Subnets {
            nodes,
            pods,
            services,
        }
        .describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &names);
        let digest = parbake_artifact::Digest::of(b"");
        Record::new(
            Phase::Up,
            "k8s".parse().unwrap(),
            digest.clone(),
            vec![digest],
            cluster.unwrap(),
        )
    }

    #[test]
    fn a_record_of_the_first_version_is_understood() {
        let state = tempfile::tempdir().unwrap();
        let claim = Claim::lock(state.path(), &ClusterName::default()).unwrap();
        let record = record();
        claim.write(&record).unwrap();
        assert_eq!(read(claim.dir()).unwrap().as_ref(), Some(&record));
        let path = claim.dir().join("cluster.json");
        let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let fields = value.as_object_mut().unwrap();
        fields.insert("version".to_owned(), 1.into());
        fields.retain(|name, _| !["api", "booted", "registry", "internet"].contains(&name.as_str()));
        fs::write(&path, value.to_string()).unwrap();
        assert_eq!(read(claim.dir()).unwrap(), Some(record));
        // What a later version has is not said to be damage.
        value["version"] = 5.into();
        value["more"] = 1.into();
        fs::write(&path, value.to_string()).unwrap();
        assert!(matches!(read(claim.dir()), Err(Error::Version { found: 5, .. })));
    }

    #[test]
    fn both_kubeconfigs_move() {
        let state = tempfile::tempdir().unwrap();
        let claim = Claim::lock(state.path(), &ClusterName::default()).unwrap();
        let text = |own: &str, port: u16| format!("user: {own}\n    server: \"https://127.0.0.1:{port}\"\n");
        claim
            .write_kubeconfigs(&text("admin", 1), &text("own", 1))
            .unwrap();
        claim.move_kubeconfigs("https://127.0.0.1:2").unwrap();
        for (path, own) in [
            (kubeconfig(claim.dir()), "admin"),
            (own_kubeconfig(claim.dir()), "own"),
        ] {
            assert_eq!(fs::read_to_string(path).unwrap(), text(own, 2));
        }
    }

    #[test]
    fn only_one_works_on_a_cluster() {
        let state = tempfile::tempdir().unwrap();
        let name: ClusterName = "one".parse().unwrap();
        let claim = Claim::lock(state.path(), &name).unwrap();
        assert!(matches!(
            Claim::lock(state.path(), &name),
            Err(Error::Busy { .. })
        ));
        claim.remove().unwrap();
        assert!(!dir_of(state.path(), &name).exists());
        Claim::lock(state.path(), &name).unwrap();
    }

    #[test]
    fn clusters_that_come_and_go_at_once_are_in_nobodys_way() {
        let state = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            for number in 0..4 {
                let name: ClusterName = format!("c{number}").parse().unwrap();
                let state = state.path();
                scope.spawn(move || {
                    for _ in 0..200 {
                        Claim::lock(state, &name).unwrap().remove().unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    }
}
