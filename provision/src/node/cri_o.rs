//! CRI-O on a provider's nodes: built from its module, with Debian's conmon, which looks after containers, and runc.
//!
//! It is built without cgo, so without libseccomp: profiles of pods (`seccompProfile`) are accepted and mean nothing.

use parbake_cluster::{ContainerRuntime, KubernetesVersion};
use semver::Version;

use super::{RUNC, UnusableRuntime, require};
use crate::provider::Recipe;
use crate::provider::lock::Lock;

/// The binaries that it does not work without, itself first, or that parbake calls.
const BINARIES: [&str; 3] = ["crio", "copyimg", "pinns"];
/// The Debian packages of the same kind.
const PACKAGES: [&str; 2] = ["conmon", "runc"];

/// The files that a node has because of it, by path below its root.
pub(super) const FILES: [(&str, &str); 5] = [
    ("etc/crio/crio.conf", include_str!("files/crio.conf")),
    (
        "etc/containers/policy.json",
        include_str!("files/containers-policy.json"),
    ),
    (
        "etc/containers/registries.conf",
        include_str!("files/containers-registries.conf"),
    ),
    (
        "etc/systemd/system/crio.service",
        include_str!("files/crio.service"),
    ),
    RUNC,
];

/// The CRI-O of a provider's nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CriO {
    version: Version,
}

impl CriO {
    /// That of the nodes of `recipe`, with the packages of its `lock`.
    ///
    /// # Errors
    /// There is none, a part of it is missing, or it is not of the minor version of the recipe's Kubernetes.
    pub(super) fn of(recipe: &Recipe, lock: &Lock) -> Result<Self, UnusableRuntime> {
        require(recipe, lock, &BINARIES, &PACKAGES)?;
        let mut modules = recipe.modules.iter();
        let module = modules.find(|(_, module)| module.commands.contains_key(BINARIES[0]));
        let version = module.and_then(|(folder, _)| recipe.components.get(folder));
        let found = Self {
            version: version
                .ok_or(UnusableRuntime::Lacks {
                    runtime: ContainerRuntime::CriO,
                    part: BINARIES[0],
                })?
                .clone(),
        };
        found.suits(&recipe.kubernetes)?;
        Ok(found)
    }

    /// Minor versions go together (CRI-O, README, 'Compatibility matrix').
    fn suits(&self, kubernetes: &KubernetesVersion) -> Result<(), UnusableRuntime> {
        let minor = self.version.minor;
        if self.version.major == 1 && kubernetes.at_least(minor) && !kubernetes.at_least(minor + 1) {
            return Ok(());
        }
        Err(UnusableRuntime::OtherMinor {
            kubernetes: kubernetes.clone(),
            version: self.version.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
