//! The containerd of a provider's nodes: which one it is, and all that differs between its versions.
//!
//! | containerd | configuration | programs of CNI | CRI | call `RuntimeConfig` |
//! |---|---|---|---|---|
//! | 1.6, 1.7 | version 2 | `bin_dir` | v1alpha2, v1 | no |
//! | 2.0 | version 3 | `bin_dir` | v1 | yes |
//! | from 2.1 | version 3 | `bin_dirs` | v1 | yes |
//!
//! (containerd, RELEASES.md, 'Deprecated features' and 'Deprecated config properties'. What knows version 4 reads version
//! 3 as well.) What it keeps on disk is the same in all of them, as far as a bake takes it apart: the directories of its
//! overlayfs snapshotter.

use parbake_cluster::{ContainerRuntime, KubernetesVersion};
use semver::Version;

use crate::provider::lock::Lock;
use crate::provider::{OS_SET, Recipe, RuntimeNotAvailable};

/// The Debian package, and the binary.
const NAME: &str = "containerd";
/// The binaries that containerd does not work without, or that parbake calls.
const BESIDE: [&str; 2] = ["containerd-shim-runc-v2", "ctr"];
/// The unit of a containerd that comes without, by its path below a node's root.
const OWN_UNIT: (&str, &str) = (
    "etc/systemd/system/containerd.service",
    include_str!("files/containerd.service"),
);
/// Where the configuration stands, below a node's root.
const CONFIG: &str = "etc/containerd/config.toml";
/// Where Debian has the programs of CNI.
const CNI: &str = "\"/usr/lib/cni\"";

/// The containerd of a provider's nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Containerd {
    version: Version,
    packaged: bool,
}

/// A provider whose nodes have no runtime that can be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnusableRuntime {
    /// The provider does not offer it.
    #[error(transparent)]
    NotOffered(#[from] RuntimeNotAvailable),
    /// Something is missing that it does not work without.
    #[error(
        "nodes with the container runtime `{runtime}` need `{part}`: name it among the binaries or packages of `os` or of \
         `runtimes.{runtime}`"
    )]
    Lacks {
        /// The runtime.
        runtime: ContainerRuntime,
        /// The binary or package.
        part: &'static str,
    },
    /// It is for another Kubernetes.
    #[error("Kubernetes {kubernetes} needs CRI-O of the same minor version, and nodes have {version}")]
    OtherMinor {
        /// The provider's Kubernetes.
        kubernetes: KubernetesVersion,
        /// That of the nodes.
        version: Version,
    },
    /// There is none.
    #[error(
        "nodes have no container runtime: name the package `{NAME}` in `os.packages`, or build it and name `{NAME}` in \
         `os.binaries`"
    )]
    Missing,
    /// There are two.
    #[error(
        "nodes have `{NAME}` as a package and as a binary: name it either in `os.packages` or in `os.binaries`"
    )]
    Twice,
    /// A part of it is missing.
    #[error("a `{NAME}` that is built needs `{0}` in `os.binaries`, too")]
    Part(&'static str),
    /// Its version cannot be told.
    #[error("the version of `{NAME}`, `{0}`, does not begin with numbers such as `1.6.20`")]
    Version(String),
    /// It is too old for this Kubernetes.
    #[error("Kubernetes {kubernetes} needs containerd {from} or newer, and nodes have {version}")]
    TooOld {
        /// The provider's Kubernetes.
        kubernetes: KubernetesVersion,
        /// The first version that serves.
        from: &'static str,
        /// That of the nodes.
        version: Version,
    },
    /// It is too new for this Kubernetes.
    #[error("Kubernetes {kubernetes} needs containerd before {before}, and nodes have {version}")]
    TooNew {
        /// The provider's Kubernetes.
        kubernetes: KubernetesVersion,
        /// The first version that does not serve any more.
        before: &'static str,
        /// That of the nodes.
        version: Version,
    },
}

impl Containerd {
    /// That of the nodes of `recipe`, with the packages of its `lock`.
    ///
    /// # Errors
    /// There is none, or one that does not suit the recipe's Kubernetes.
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
                if let Some(part) = BESIDE.into_iter().find(|part| !has(part)) {
                    return Err(UnusableRuntime::Part(part));
                }
                Self {
                    version: version.clone(),
                    packaged: false,
                }
            }
        };
        found.suits(&recipe.kubernetes)?;
        Ok(found)
    }

    /// Whether the kubelet of `kubernetes` and this speak to each other.
    fn suits(&self, kubernetes: &KubernetesVersion) -> Result<(), UnusableRuntime> {
        let dialect = kubernetes.dialect();
        let too_old = |from| UnusableRuntime::TooOld {
            kubernetes: kubernetes.clone(),
            from,
            version: self.version.clone(),
        };
        // CRI v1 came with containerd 1.6, v1alpha2 went with containerd 2.0.
        if !dialect.knows_cri_v1() && self.at_least(2, 0) {
            return Err(UnusableRuntime::TooNew {
                kubernetes: kubernetes.clone(),
                before: "2.0",
                version: self.version.clone(),
            });
        }
        if dialect.needs_cri_v1() && !self.at_least(1, 6) {
            return Err(too_old("1.6"));
        }
        if dialect.needs_cgroup_driver_of_runtime() && !self.at_least(2, 0) {
            return Err(too_old("2.0"));
        }
        Ok(())
    }

    fn at_least(&self, major: u64, minor: u64) -> bool {
        (self.version.major, self.version.minor) >= (major, minor)
    }

    /// The files that a node has because of it, by path below the node's root, with `pause` as the image that holds a pod's
    /// namespaces.
    pub(super) fn files(&self, pause: &str) -> Vec<(&'static str, String)> {
        let mut files = vec![(CONFIG, self.configuration().replace("@PAUSE@", pause))];
        if !self.packaged {
            let (path, text) = OWN_UNIT;
            files.push((path, text.to_owned()));
        }
        files
    }

    /// Whether its unit comes with a package.
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

/// The version of a containerd that nodes have as a binary.
fn built(recipe: &Recipe) -> Option<&Version> {
    recipe.os.binaries.iter().find(|binary| *binary == NAME)?;
    let mut modules = recipe.modules.iter();
    let (folder, _) = modules.find(|(_, module)| module.commands.contains_key(NAME))?;
    recipe.components.get(folder)
}

/// The version of the software in a package's version (Debian Policy, section 5.6.12), as far as it is numbers.
fn upstream(package: &str) -> Option<Version> {
    let rest = package.split_once(':').map_or(package, |(_, rest)| rest);
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
    let mut numbers = rest[..end.unwrap_or(rest.len())].split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Version::new(next()?, next()?, next().unwrap_or_default()))
}

#[cfg(test)]
mod tests;
