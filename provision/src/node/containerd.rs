//! containerd: which one a provider's nodes have, and the differences between its versions.
//!
//! | containerd | configuration | programs of CNI | CRI | call `RuntimeConfig` |
//! |---|---|---|---|---|
//! | 1.6, 1.7 | version 2 | `bin_dir` | v1alpha2, v1 | no |
//! | 2.0 | version 3 | `bin_dir` | v1 | yes |
//! | from 2.1 | version 3 | `bin_dirs` | v1 | yes |
//!
//! (containerd, RELEASES.md, 'Deprecated features' and 'Deprecated config properties'. Versions that support configuration
//! version 4 also read version 3.) The directories of the overlayfs snapshotter, which a bake moves, are the same in all.

use parbake_cluster::{ContainerRuntime, KubernetesVersion};
use semver::Version;

use crate::provider::lock::Lock;
use crate::provider::{OS_SET, Recipe, RuntimeNotAvailable};

/// The name of the Debian package and of the binary.
const NAME: &str = "containerd";
/// Further binaries that containerd needs or parbake calls.
const COMPANIONS: [&str; 2] = ["containerd-shim-runc-v2", "ctr"];
/// The unit of a containerd that is not packaged.
const UNIT: (&str, &str) = (
    "etc/systemd/system/containerd.service",
    include_str!("files/containerd.service"),
);
/// The configuration, below a node's root.
const CONFIG: &str = "etc/containerd/config.toml";
/// Debian's directory of CNI plugins.
const CNI: &str = "\"/usr/lib/cni\"";

/// The containerd of a provider's nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Containerd {
    version: Version,
    packaged: bool,
}

/// Why the nodes of a provider have no usable container runtime.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnusableRuntime {
    #[error(transparent)]
    NotOffered(#[from] RuntimeNotAvailable),
    #[error(
        "nodes with the container runtime `{runtime}` need `{part}`: name it among the binaries or packages of `os` or of \
         `runtimes.{runtime}`"
    )]
    Lacks {
        runtime: ContainerRuntime,
        /// A binary or package.
        part: &'static str,
    },
    #[error("Kubernetes {kubernetes} needs CRI-O of the same minor version, and nodes have {version}")]
    OtherMinor {
        kubernetes: KubernetesVersion,
        version: Version,
    },
    #[error(
        "nodes have no container runtime: name the package `{NAME}` in `os.packages`, or build it and name `{NAME}` in \
         `os.binaries`"
    )]
    Missing,
    #[error(
        "nodes have `{NAME}` as a package and as a binary: name it either in `os.packages` or in `os.binaries`"
    )]
    Twice,
    #[error("the binary `{NAME}` also needs `{0}` in `os.binaries`")]
    Part(&'static str),
    #[error("the version `{0}` of `{NAME}` does not start with numbers such as `1.6.20`")]
    Version(String),
    #[error("Kubernetes {kubernetes} needs containerd {from} or newer, and nodes have {version}")]
    TooOld {
        kubernetes: KubernetesVersion,
        /// The first compatible version.
        from: &'static str,
        version: Version,
    },
    #[error("Kubernetes {kubernetes} needs containerd before {before}, and nodes have {version}")]
    TooNew {
        kubernetes: KubernetesVersion,
        /// The first incompatible version.
        before: &'static str,
        version: Version,
    },
}

impl Containerd {
    /// The containerd of `recipe`, with the packages of `lock`.
    ///
    /// # Errors
    /// It is missing or incomplete, or incompatible with the recipe's Kubernetes.
    pub(crate) fn of(recipe: &Recipe, lock: &Lock) -> Result<Self, UnusableRuntime> {
        let package = lock.set(OS_SET).into_iter().find(|package| package.name == NAME);
        let found = match (package, built(recipe)) {
            (Some(_), Some(_)) => return Err(UnusableRuntime::Twice),
            (None, None) => return Err(UnusableRuntime::Missing),
            (Some(package), None) => Self {
                version: upstream(&package.version)
                    .ok_or_else(|| UnusableRuntime::Version(package.version.clone()))?,
                packaged: true,
            },
            (None, Some(version)) => {
                let binaries = &recipe.os.binaries;
                let has = |part: &str| binaries.iter().any(|binary| binary == part);
                if let Some(part) = COMPANIONS.into_iter().find(|part| !has(part)) {
                    return Err(UnusableRuntime::Part(part));
                }
                Self {
                    version: version.clone(),
                    packaged: false,
                }
            }
        };
        found.check_compatible(&recipe.kubernetes)?;
        Ok(found)
    }

    /// Checks that the kubelet of `kubernetes` and this containerd support the same version of CRI.
    fn check_compatible(&self, kubernetes: &KubernetesVersion) -> Result<(), UnusableRuntime> {
        let compat = kubernetes.compat();
        let too_old = |from| UnusableRuntime::TooOld {
            kubernetes: kubernetes.clone(),
            from,
            version: self.version.clone(),
        };
        // containerd 1.6 added CRI v1, containerd 2.0 removed v1alpha2.
        if !compat.supports_cri_v1() && self.at_least(2, 0) {
            return Err(UnusableRuntime::TooNew {
                kubernetes: kubernetes.clone(),
                before: "2.0",
                version: self.version.clone(),
            });
        }
        if compat.needs_cri_v1() && !self.at_least(1, 6) {
            return Err(too_old("1.6"));
        }
        if compat.needs_cgroup_driver_of_runtime() && !self.at_least(2, 0) {
            return Err(too_old("2.0"));
        }
        Ok(())
    }

    fn at_least(&self, major: u64, minor: u64) -> bool {
        (self.version.major, self.version.minor) >= (major, minor)
    }

    /// Its files, by path below a node's root. `pause` is the reference of the pause image.
    pub(super) fn files(&self, pause: &str) -> Vec<(&'static str, String)> {
        let mut files = vec![(CONFIG, self.configuration().replace("@PAUSE@", pause))];
        if !self.packaged {
            let (path, text) = UNIT;
            files.push((path, text.to_owned()));
        }
        files
    }

    pub(super) fn is_packaged(&self) -> bool {
        self.packaged
    }

    fn configuration(&self) -> String {
        let text = if self.at_least(2, 0) {
            include_str!("files/containerd-config-3.toml")
        } else {
            include_str!("files/containerd-config-2.toml")
        };
        let cni = if self.at_least(2, 1) {
            format!("bin_dirs = [{CNI}]")
        } else {
            format!("bin_dir = {CNI}")
        };
        text.replace("@CNI@", &cni)
    }
}

/// The version of a containerd that is built from a Go module.
fn built(recipe: &Recipe) -> Option<&Version> {
    recipe.os.binaries.iter().find(|binary| *binary == NAME)?;
    let mut modules = recipe.modules.iter();
    let (folder, _) = modules.find(|(_, module)| module.commands.contains_key(NAME))?;
    recipe.components.get(folder)
}

/// The numeric start of the upstream version in a package's version (Debian Policy, section 5.6.12).
fn upstream(package: &str) -> Option<Version> {
    let rest = package.split_once(':').map_or(package, |(_, rest)| rest);
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
    let mut numbers = rest[..end.unwrap_or(rest.len())].split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Version::new(next()?, next()?, next().unwrap_or_default()))
}

#[cfg(test)]
mod tests;
