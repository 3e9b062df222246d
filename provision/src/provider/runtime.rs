//! The container runtimes that a provider may choose, and what each would need to be baked.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What runs containers on the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerRuntime {
    /// containerd.
    #[default]
    Containerd,
    /// CRI-O.
    #[serde(rename = "cri-o")]
    CriO,
    /// Docker's engine, which the kubelet reaches through cri-dockerd.
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
#[error("`{text}` is no container runtime; there are `containerd`, `cri-o` and `docker`")]
pub struct UnknownRuntime {
    text: String,
}

/// A runtime that no bake can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the container runtime `{runtime}` cannot be had: {why}; bake with `containerd`, which is what `runtime` in the provider \
     file and `--runtime` mean where they are left out"
)]
pub struct RuntimeNotToBeHad {
    runtime: ContainerRuntime,
    why: &'static str,
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

    /// Why nodes cannot have it; nothing where they can.
    fn lacks(self) -> Option<&'static str> {
        match self {
            Self::Containerd => None,
            Self::CriO => Some(
                "Debian bookworm has no package of CRI-O, and a bake unpacks images into containerd's storage, not into that \
                 of containers/storage",
            ),
            Self::Docker => Some(
                "it needs cri-dockerd, which the kubelet reaches it through and Debian bookworm has no package of, and a bake \
                 unpacks images into containerd's storage, not into Docker's",
            ),
        }
    }

    /// Whether nodes can have it.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn to_be_had(self) -> Result<(), RuntimeNotToBeHad> {
        match self.lacks() {
            None => Ok(()),
            Some(why) => Err(RuntimeNotToBeHad { runtime: self, why }),
        }
    }
}

impl FromStr for ContainerRuntime {
    type Err = UnknownRuntime;

    fn from_str(text: &str) -> Result<Self, UnknownRuntime> {
        let found = ALL.into_iter().find(|runtime| runtime.as_str() == text);
        found.ok_or_else(|| UnknownRuntime {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for ContainerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, ContainerRuntime};

    #[test]
    fn names_are_read_as_they_are_written() {
        for runtime in ALL {
            assert_eq!(runtime.to_string().parse(), Ok(runtime));
            assert_eq!(serde_json::to_value(runtime).unwrap(), runtime.as_str());
        }
        let unknown = "podman".parse::<ContainerRuntime>().unwrap_err().to_string();
        assert_eq!(
            unknown,
            "`podman` is no container runtime; there are `containerd`, `cri-o` and `docker`"
        );
    }

    #[test]
    fn what_cannot_be_had_says_why_and_what_to_do() {
        assert_eq!(ContainerRuntime::default().to_be_had(), Ok(()));
        for (name, why) in [
            ("cri-o", "no package of CRI-O"),
            ("docker", "it needs cri-dockerd"),
        ] {
            let error = name.parse::<ContainerRuntime>().unwrap().to_be_had();
            let text = error.unwrap_err().to_string();
            let begin = format!("the container runtime `{name}` cannot be had: ");
            assert!(
                text.starts_with(&begin) && text.contains(why) && text.contains("; bake with `containerd`"),
                "{text}"
            );
        }
    }
}
