//! CRI-O: built from its Go module, with Debian's conmon and runc.
//!
//! It is built without cgo, so without libseccomp: seccomp profiles of pods are accepted but have no effect.

use parbake_cluster::{ContainerRuntime, KubernetesVersion};
use semver::Version;

use super::{RUNC, UnusableRuntime, require};
use crate::provider::Recipe;
use crate::provider::lock::Lock;

/// The binaries that it needs or parbake calls. The first is CRI-O itself.
const BINARIES: [&str; 3] = ["crio", "copyimg", "pinns"];
/// The required Debian packages.
const PACKAGES: [&str; 2] = ["conmon", "runc"];

/// Its files, by path below a node's root.
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CriO {
    version: Version,
}

impl CriO {
    /// The CRI-O of `recipe`, with the packages of `lock`.
    ///
    /// # Errors
    /// A part is missing, or its minor version differs from that of the recipe's Kubernetes.
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
        found.check_compatible(&recipe.kubernetes)?;
        Ok(found)
    }

    /// CRI-O and Kubernetes must have the same minor version (CRI-O, README, 'Compatibility matrix').
    fn check_compatible(&self, kubernetes: &KubernetesVersion) -> Result<(), UnusableRuntime> {
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
