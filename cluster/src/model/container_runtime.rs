//! The container runtimes of nodes, and what differs between them. Everything else goes through CRI, which all of them
//! implement.

mod containerd;
mod cri_o;
mod docker;
mod profile;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::invalid_value::InvalidValue;
pub use profile::RuntimeProfile;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerRuntime {
    #[default]
    Containerd,
    #[serde(rename = "cri-o")]
    CriO,
    /// Docker's engine, behind cri-dockerd.
    Docker,
}

const ALL: [ContainerRuntime; 3] = [
    ContainerRuntime::Containerd,
    ContainerRuntime::CriO,
    ContainerRuntime::Docker,
];

impl ContainerRuntime {
    /// Its name in provider files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
        }
    }

    pub fn profile(self) -> &'static RuntimeProfile {
        match self {
            Self::Containerd => &containerd::PROFILE,
            Self::CriO => &cri_o::PROFILE,
            Self::Docker => &docker::PROFILE,
        }
    }

    /// True if `unit` is the systemd unit of any runtime.
    pub fn is_runtime_unit(unit: &str) -> bool {
        ALL.into_iter().any(|runtime| runtime.profile().unit == unit)
    }

    /// True for the runtime of clusters that name none.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for ContainerRuntime {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let found = ALL.into_iter().find(|runtime| runtime.as_str() == text);
        found.ok_or_else(|| {
            InvalidValue::new(
                text,
                "a container runtime; choose `containerd`, `cri-o` or `docker`",
            )
        })
    }
}

impl fmt::Display for ContainerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
