//! What runs containers on nodes, and all that parbake has to know of it: one answer to each question, for each runtime.
//!
//! Everything else is asked through the runtime's own interface (CRI), which is the same for all.

mod containerd;
mod cri_o;
mod docker;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What runs containers on the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerRuntime {
    /// containerd.
    #[default]
    Containerd,
    /// CRI-O.
    #[serde(rename = "cri-o")]
    CriO,
    /// Docker's engine, behind cri-dockerd.
    Docker,
}

/// All of them.
const ALL: [ContainerRuntime; 3] = [
    ContainerRuntime::Containerd,
    ContainerRuntime::CriO,
    ContainerRuntime::Docker,
];

/// Text that names no container runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no container runtime; there are `containerd`, `cri-o` and `docker`")]
pub struct UnknownRuntime(String);

/// Forgets all pods by CRI.
const FORGET_PODS: &str = r#"if [ -n "$(crictl pods -q)" ]; then crictl --timeout=60s rmp -fa; fi"#;
/// Ends the containers of a pod at once before the pod.
const STOP_POD_AND_CONTAINERS: &str = r#"
for container in $(crictl ps -q --pod "$1"); do crictl --timeout=60s stop --timeout=0 "$container"; done
crictl --timeout=60s stopp "$1""#;

/// What is different between runtimes. Paths are absolute but for [`RuntimeProfile::dir`]; scripts are for `sh -eu`.
#[derive(Debug, PartialEq, Eq)]
pub struct RuntimeProfile {
    /// The program that answers kubelets, which a developer may swap.
    pub program: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Where the kubelet and crictl find it (CRI), as a URL.
    pub socket: &'static str,
    /// Its state, below a node's root: overlays of containers live there, so it cannot be on an overlay itself.
    pub dir: &'static str,
    /// Where it keeps the files of an image's layer: a directory for each in this one, below [`RuntimeProfile::dir`], ...
    pub layers: &'static str,
    /// ... and in it the files, in this one.
    pub files: &'static str,
    /// Where its configuration is, which no user may mount over.
    pub configuration: &'static str,
    /// Its log in an export ...
    pub log: &'static str,
    /// ... which is what these units wrote, as options of journalctl.
    pub journal: &'static [&'static str],
    /// Imports an archive of images from standard input. Its arguments are the images' names, which are in the archive.
    pub import: &'static str,
    /// Prints a line for each image: its name, anything, and its digest: that of its manifest, where manifests are kept. Its
    /// arguments are the names of the images that matter.
    pub list: &'static str,
    /// Writes the files of an image, as containers see them, to standard output, as a tar stream. Its arguments are a
    /// directory for what it needs on the way, which it makes, and the image's name.
    pub tree: &'static str,
    /// Throws away a packed layer that is unpacked; its argument is the digest. Nothing where none is kept.
    pub forget_packed: Option<&'static str>,
    /// Forgets the packed layers of all images.
    pub forget_all_packed: Option<&'static str>,
    /// Forgets the containers of the moment, as after a restart of the node, and what only they needed.
    pub forget_pods: &'static str,
    /// Ends the pod `$1` at once, whatever its containers would still do.
    pub stop_pod: &'static str,
    /// Whether it tells what it was asked for when it started a container (crictl-inspect, `info.config`).
    pub tells_requests: bool,
}

impl ContainerRuntime {
    /// Its name, as in a provider file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
        }
    }

    /// What is different about it.
    pub fn answers(self) -> &'static RuntimeProfile {
        match self {
            Self::Containerd => &containerd::ANSWERS,
            Self::CriO => &cri_o::ANSWERS,
            Self::Docker => &docker::ANSWERS,
        }
    }

    /// Whether the unit is that of a runtime.
    pub fn has_unit(unit: &str) -> bool {
        ALL.into_iter().any(|runtime| runtime.answers().unit == unit)
    }

    /// Whether it is what a cluster has that says nothing about it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for ContainerRuntime {
    type Err = UnknownRuntime;

    fn from_str(text: &str) -> Result<Self, UnknownRuntime> {
        let found = ALL.into_iter().find(|runtime| runtime.as_str() == text);
        found.ok_or_else(|| UnknownRuntime(text.to_owned()))
    }
}

impl fmt::Display for ContainerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
