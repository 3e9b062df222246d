//! CRI-O on a provider's nodes: built from its module, with Debian's conmon, which looks after containers, and runc.
//!
//! It is built without cgo, so without libseccomp: profiles of pods (`seccompProfile`) are accepted and mean nothing.

use parbake_cluster::{ContainerRuntime, KubernetesVersion};
use semver::Version;

use super::{RUNC, UnusableRuntime};
use crate::provider::lock::Lock;
use crate::provider::{OS_SET, Recipe};

/// The binaries that it does not work without, itself first, or that parbake calls.
const BINARIES: [&str; 3] = ["crio", "copyimg", "pinns"];
/// The Debian packages of the same kind.
const PACKAGES: [&str; 2] = ["conmon", "runc"];

/// The files that a node has because of it, by path below its root.
const FILES: [(&str, &str); 5] = [
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
        let runtime = ContainerRuntime::CriO;
        let has = |binary: &str| recipe.os.binaries.iter().any(|built| built == binary);
        if let Some(part) = BINARIES.into_iter().find(|part| !has(part)) {
            return Err(UnusableRuntime::Lacks { runtime, part });
        }
        // Whoever gives an operating system has to have them there, which is checked with all else.
        let packages = lock.set(OS_SET);
        let packaged = |name: &str| packages.iter().any(|package| package.name == name);
        if let Some(part) = PACKAGES.into_iter().find(|part| !packaged(part)) {
            return Err(UnusableRuntime::Lacks { runtime, part });
        }
        let mut modules = recipe.modules.iter();
        let module = modules.find(|(_, module)| module.commands.contains_key(BINARIES[0]));
        let version = module.and_then(|(folder, _)| recipe.components.get(folder));
        let found = Self {
            version: version
                .ok_or(UnusableRuntime::Lacks {
                    runtime,
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

    /// The files that a node has because of it, by path below the node's root, with `pause` as the image that holds a pod's
    /// namespaces.
    pub(super) fn files(pause: &str) -> Vec<(&'static str, String)> {
        let files = FILES.into_iter();
        files
            .map(|(path, text)| (path, text.replace("@PAUSE@", pause)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
