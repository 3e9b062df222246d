//! `cluster.json`: the record of a cluster.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use jiff::Timestamp;
use parbake_artifact::{Artifact, Digest, Tag};
use parbake_cluster::Description;
use parbake_machine::fs::files::failed;
use serde::{Deserialize, Serialize};

use super::{PendingChanges, Swapped, cluster_dir};
use crate::error::Error;
use crate::name::ClusterName;

/// The name of the file.
pub(super) const FILE: &str = "cluster.json";
/// The version of the format. Version 2 added [`Record::api`] and [`Record::booted`], version 3 [`Record::registry`] and
/// [`Record::internet`], version 4 [`Record::swapped`].
const VERSION: u32 = 4;
const OLDEST_VERSION: u32 = 1;

/// What a cluster has gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Never ready. The files of its machines, if any, are discarded by its first start.
    Created,
    /// `up` is running, or was killed.
    Starting,
    /// It has been ready: the files of its machines are worth keeping.
    Up,
    /// It has been ready, and a later start is running or was killed.
    #[serde(rename = "returning")]
    Restarting,
}

/// The content of `cluster.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub version: u32,
    pub phase: Phase,
    pub created: Timestamp,
    /// The artifact's name in the store when the cluster was created. It may refer to another artifact now.
    pub tag: Tag,
    /// Digest of the artifact's manifest.
    pub artifact: Digest,
    /// Digests of the artifact's layers, which the store must keep.
    pub layers: Vec<Digest>,
    /// The cluster, with those nodes that run.
    pub cluster: Description,
    /// The host's last address for the API.
    #[serde(default)]
    pub api: Option<SocketAddr>,
    /// Time of the last boot.
    #[serde(default)]
    pub booted: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "PendingChanges::is_empty")]
    pub changes: PendingChanges,
    /// The host's last address for the registry.
    #[serde(default)]
    pub registry: Option<SocketAddr>,
    /// True if it reaches other networks while it runs.
    #[serde(default)]
    pub internet: bool,
    /// Programs that were replaced since the thaw.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swapped: Vec<Swapped>,
}

impl Record {
    /// A record of a cluster that was never started.
    pub(crate) fn new(phase: Phase, artifact: &Artifact, cluster: Description, internet: bool) -> Self {
        let layers = artifact.layers.iter().map(|layer| layer.digest.clone());
        Self {
            version: VERSION,
            phase,
            created: Timestamp::now(),
            tag: artifact.tag.clone(),
            artifact: artifact.digest.clone(),
            layers: layers.collect(),
            cluster,
            api: None,
            booted: None,
            changes: PendingChanges::default(),
            registry: None,
            internet,
            swapped: Vec::new(),
        }
    }
}

/// The field that `cluster.json` has in every version.
#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

/// Reads the record of the cluster in `dir`; `None` if there is no cluster.
pub(crate) fn read(dir: &Path) -> Result<Option<Record>, Error> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(failed("read", &path))?,
    };
    match serde_json::from_str::<AnyVersion>(&text) {
        Ok(AnyVersion { version: found }) if !(OLDEST_VERSION..=VERSION).contains(&found) => {
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

/// Reads the record of the cluster `name`, which must exist.
pub(crate) fn read_existing(state: &Path, name: &ClusterName) -> Result<Record, Error> {
    read(&cluster_dir(state, name))?.ok_or_else(|| Error::NotFound { name: name.clone() })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use parbake_artifact::Digest;
    use parbake_cluster::{ClusterDomain, Description, NodeName, Role, Subnets};
    use serde_json::Value;

    use super::{Phase, Record, read};
    use crate::state::{ClusterLock, PendingChanges};
    use crate::{ClusterName, Error};

    /// A cluster of one control plane.
    pub(crate) fn description([nodes, pods, services]: [&str; 3]) -> Description {
        let subnets = Subnets {
            nodes: nodes.parse().unwrap(),
            pods: pods.parse().unwrap(),
            services: services.parse().unwrap(),
        };
        let names = [(NodeName::numbered(1), Role::ControlPlane)];
        let described = subnets.describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &names);
        described.unwrap()
    }

    /// The record of a cluster of one control plane that was ready.
    pub(crate) fn record() -> Record {
        let digest = Digest::of(b"");
        Record {
            version: super::VERSION,
            phase: Phase::Up,
            created: "2026-03-01T10:00:00Z".parse().unwrap(),
            tag: "k8s".parse().unwrap(),
            artifact: digest.clone(),
            layers: vec![digest],
            cluster: description(["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"]),
            api: None,
            booted: None,
            changes: PendingChanges::default(),
            registry: None,
            internet: false,
            swapped: Vec::new(),
        }
    }

    #[test]
    fn reads_all_versions_and_rejects_newer_ones() {
        let state = tempfile::tempdir().unwrap();
        let lock = ClusterLock::acquire(state.path(), &ClusterName::default()).unwrap();
        let record = record();
        lock.write(&record).unwrap();
        assert_eq!(read(lock.dir()).unwrap().as_ref(), Some(&record));
        let path = lock.dir().join("cluster.json");
        let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let fields = value.as_object_mut().unwrap();
        fields.insert("version".to_owned(), 1.into());
        fields.retain(|name, _| !["api", "booted", "registry", "internet"].contains(&name.as_str()));
        fs::write(&path, value.to_string()).unwrap();
        assert_eq!(read(lock.dir()).unwrap(), Some(record));
        // Unknown fields of a newer version are not reported as damage.
        value["version"] = 5.into();
        value["more"] = 1.into();
        fs::write(&path, value.to_string()).unwrap();
        assert!(matches!(read(lock.dir()), Err(Error::Version { found: 5, .. })));
    }

    #[test]
    fn restarting_phase_keeps_its_serialized_name() {
        assert_eq!(
            serde_json::to_string(&Phase::Restarting).unwrap(),
            r#""returning""#
        );
    }
}
