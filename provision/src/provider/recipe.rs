//! The contents of a provider file.

use std::collections::BTreeMap;
use std::fmt;

use parbake_cluster::{
    BuiltinServices, ClusterDomain, Description, DescriptionError, IpFamilies, KubernetesVersion, NodeName,
    Role,
};
use semver::Version;
use serde::Deserialize;

use super::text::{self, Marker, Name, Word};
use super::{ContainerRuntime, Published, Variant, VariantName};

/// The placeholder for the directory that a generator writes to.
pub(super) const OUT: &str = "{out}";
/// The placeholder for the packages that a generator reads.
pub(super) const PACKAGES: &str = "{packages}";

/// The lock's package set of the node OS with the default runtime.
pub(crate) const OS_SET: &str = "os";
/// The prefix of package sets of the node OS with an alternative runtime.
const OS_PREFIX: &str = "os/";

/// True if `set` is a package set of the node OS, with any runtime.
pub(crate) fn is_os(set: &str) -> bool {
    set == OS_SET || set.starts_with(OS_PREFIX)
}

/// The validated contents of a provider file: one cluster and everything that it is built from.
///
/// ```toml
/// kubernetes = "1.34.4"
/// nodes = [                             # control planes first, an odd number of them
///     { name = "node01", role = "control-plane" },
///     { name = "node02", role = "worker" },
/// ]
/// addons = ["local-storage"]            # of the folder `manifests` next to `providers`, in the order of their application
/// optional = ["conformance"]            # further add-ons that a bake can select; pinned like the others
/// options.local-storage = { path = "/srv" }  # values that differ from the add-on's defaults
/// runtime = "containerd"                # the default container runtime; alternatives are `runtimes`, see `AlternativeRuntime`
///
/// [network]                             # private networks that do not overlap
/// nodes = "10.89.0.0/24"                # IPv4, IPv6 in fd00::/8, or a list of one of each
/// pods = "10.244.0.0/16"                # every node gets a /24 of it, or a /64 of IPv6
/// services = "10.96.0.0/12"
///
/// [os]                                  # Debian: these packages and their dependencies
/// suite = "bookworm"
/// packages = ["systemd-sysv", "containerd"]
/// binaries = ["kubelet", "kubeadm"]     # from `modules` or a release
/// root = "os.tar"                       # optional, instead of the packages: a directory, an archive or an image
///
/// [components]                          # versions of everything else that is built
/// etcd = "3.6.5"
/// pause = "3.10.1"
///
/// [modules.kubernetes]                  # with `modules/kubernetes/go.mod` and `go.sum` next to the provider file
/// go = "1.26.8"                         # the Go toolchain
/// commands = { kubeadm = "k8s.io/kubernetes/cmd/kubeadm" }
/// tags = ["minimal"]                    # optional build tags (go help buildconstraint)
/// c = { pinns = "example.org/m//src" }  # optional C programs: all `*.c` in a folder of a module
/// variables = { "k8s.io/component-base/version.gitVersion" = "v1.34.4" }
/// # Source files that a published module lacks are `generated`, see `GeneratedFile`.
///
/// [release]                             # where source `release` downloads binaries; images are where kubeadm expects them
/// kubelet = "https://dl.k8s.io/release/v{kubernetes}/bin/linux/{arch}/kubelet"
/// etcdctl = "image/etcd:/usr/local/bin/etcdctl"
///
/// [images.etcd]                         # named as in `kubeadm config images list`
/// files = { "/usr/local/bin/etcd" = "etcd" }
/// links = { "/usr/sbin/iptables" = "xtables-nft-multi" }
/// packages = ["iptables"]               # Debian packages, and their dependencies
/// entrypoint = ["/usr/local/bin/etcd"]
///
/// [services]                            # optional services on the control plane
/// dns = true                            # names of nodes; needs the package `dnsmasq-base`
/// registry = true                       # a registry, `registry:5000`; needs the binary `registry`
///
/// [variants.slim]                       # the same cluster with other add-ons, all from `addons` or `optional`
/// addons = []
/// services = { dns = true }             # optional, instead of `services` above
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    pub kubernetes: KubernetesVersion,
    /// In the order of their addresses, control planes first.
    pub nodes: Vec<(NodeName, Role)>,
    pub network: IpFamilies,
    pub os: Os,
    /// The packages of nodes with the default runtime, whichever is selected.
    pub(super) default_packages: Vec<String>,
    /// The selected container runtime.
    pub runtime: ContainerRuntime,
    pub default_runtime: ContainerRuntime,
    /// The alternatives to the default runtime.
    pub runtimes: BTreeMap<ContainerRuntime, AlternativeRuntime>,
    /// Versions of components (`etcd`, `coredns`, `pause`, ...).
    pub components: BTreeMap<String, Version>,
    /// By name of the folder under `modules/`.
    pub modules: BTreeMap<String, Modules>,
    /// Published binaries by name; empty for a provider that can only be built from source.
    pub release: BTreeMap<String, Published>,
    /// By short name (`kube-apiserver`, `etcd`, ...).
    pub images: BTreeMap<String, ImageRecipe>,
    /// In the order in which they are applied.
    pub addons: Vec<String>,
    /// Add-ons that a bake can select.
    pub optional: Vec<String>,
    /// Options of add-ons, by name of the add-on.
    pub options: BTreeMap<String, BTreeMap<String, String>>,
    pub services: BuiltinServices,
    pub variants: BTreeMap<VariantName, Variant>,
}

/// The size of a cluster, where it differs from the provider's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterSize {
    pub nodes: Option<usize>,
    /// The first nodes; an odd number.
    pub control_planes: Option<usize>,
}

/// The node OS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Os {
    /// The Debian release, by code name.
    pub suite: String,
    /// The requested Debian packages; the lock adds their dependencies.
    pub packages: Vec<String>,
    /// Binaries in addition to the packages.
    pub binaries: Vec<String>,
    /// A root file system to use instead of the packages: a directory, an archive or an image file, by its path below the
    /// provider's folder, or an image in a registry, by its digest.
    pub root: Option<String>,
}

/// One Go main module and what is built from it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// The version of the Go toolchain.
    #[serde(deserialize_with = "text::parsed")]
    pub go: Version,
    /// Import paths of `main` packages, by name of the binary.
    #[serde(default, deserialize_with = "text::named")]
    pub commands: BTreeMap<String, String>,
    /// Import paths of packages whose tests are built, by name of the binary.
    #[serde(default, deserialize_with = "text::named")]
    pub tests: BTreeMap<String, String>,
    /// Files that images can contain like binaries, by name.
    #[serde(default, deserialize_with = "text::named")]
    pub files: BTreeMap<String, ModuleFile>,
    /// Folders with the sources of C programs, by name of the binary.
    #[serde(default, deserialize_with = "text::named")]
    pub c: BTreeMap<String, ModuleFile>,
    /// Build tags (`go help buildconstraint`).
    #[serde(default, deserialize_with = "text::list::<Name, _>")]
    pub tags: Vec<String>,
    /// String variables that the linker sets, by `importpath.name`.
    #[serde(default, deserialize_with = "text::map::<Word, Word, _>")]
    pub variables: BTreeMap<String, String>,
    /// Source files that a published module lacks.
    #[serde(default)]
    pub generated: BTreeMap<ModuleFile, GeneratedFile>,
}

/// A file or folder of a module, written `MODULE//PATH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ModuleFile {
    pub module: String,
    pub path: String,
}

impl TryFrom<String> for ModuleFile {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_inside = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        match text.split_once("//") {
            Some((module, path)) if is_inside(module) && is_inside(path) => Ok(Self {
                module: module.to_owned(),
                path: path.to_owned(),
            }),
            _ => Err(format!(
                "`{text}` is not a file of a module, such as `example.org/module//path/of/file`"
            )),
        }
    }
}

impl fmt::Display for ModuleFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}//{}", self.module, self.path)
    }
}

/// How to generate a source file that a published module lacks.
///
/// ```toml
/// [modules.kubernetes.generated."k8s.io/kubernetes//pkg/generated/openapi/zz_generated.openapi.go"]
/// by = "k8s.io/kube-openapi/cmd/openapi-gen"  # the generator, a package of the same `go.mod`
/// marker = "+k8s:openapi-gen="                # packages with this text are its `{packages}`
/// arguments = ["--output-base", "{out}", "--input-dirs", "{packages}"]
/// ```
///
/// The generator runs in the folder of the `go.mod` and writes the file to `{out}/MODULE/PATH`. Commands are built as if
/// the module contained it (`go build -overlay`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedFile {
    /// The import path of the generator's `main` package.
    pub by: String,
    /// The generator's arguments. `{out}` is replaced by a new directory, `{packages}` by import paths separated by commas.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Selects the packages, among all dependencies of the commands, that have this text in one of their files.
    #[serde(default, deserialize_with = "text::optional::<Marker, _>")]
    pub marker: Option<String>,
}

/// A container runtime that can be selected in place of the default one.
///
/// ```toml
/// [runtimes.cri-o]
/// packages = ["conmon"]                 # in addition to `os.packages`
/// binaries = ["crio", "pinns"]          # in addition to `os.binaries`
/// without = ["containerd"]              # packages and binaries of `os` that such nodes do not have
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlternativeRuntime {
    /// All requested Debian packages of a node.
    pub packages: Vec<String>,
    /// All binaries of a node in addition to the packages.
    pub binaries: Vec<String>,
    /// Modules that are built for this runtime only, by name of the folder under `modules/`.
    pub modules: BTreeMap<String, Modules>,
}

/// The contents of a container image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageRecipe {
    /// Names of binaries, by absolute path in the image.
    pub files: BTreeMap<String, String>,
    /// Those of `files` with the setuid and setgid bits (chmod(2)).
    pub setuid: Vec<String>,
    /// Targets of symbolic links, by absolute path in the image.
    pub links: BTreeMap<String, String>,
    /// Empty directories with mode 1777, such as `/tmp`.
    pub directories: Vec<String>,
    /// Debian packages; the lock adds their dependencies.
    pub packages: Vec<String>,
    pub entrypoint: Vec<String>,
    /// Default arguments of the entry point.
    pub arguments: Vec<String>,
    /// The default user (OCI image configuration, `User`); root if empty.
    pub user: String,
}

impl ImageRecipe {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl GeneratedFile {
    /// The generator's arguments for the directory `out` and these packages.
    pub(crate) fn arguments(&self, out: &str, packages: &[String]) -> Vec<String> {
        let packages = packages.join(",");
        let arguments = self.arguments.iter();
        arguments
            .map(|word| word.replace(OUT, out).replace(PACKAGES, &packages))
            .collect()
    }
}

impl Modules {
    /// The names of everything that is built, files included.
    pub fn binaries(&self) -> impl Iterator<Item = &String> {
        self.commands
            .keys()
            .chain(self.tests.keys())
            .chain(self.files.keys())
            .chain(self.c.keys())
    }
}

impl Recipe {
    /// The cluster, with every address.
    ///
    /// # Errors
    /// None for a parsed recipe: parsing has checked it.
    pub fn describe(&self) -> Result<Description, DescriptionError> {
        self.describe_nodes(&self.nodes)
    }

    /// The cluster in another `size`. Additional nodes are workers named `node04` and so on.
    ///
    /// # Errors
    /// There are fewer nodes than control planes, the networks are too small, or a name is used twice.
    pub fn describe_sized(&self, size: ClusterSize) -> Result<Description, DescriptionError> {
        let listed = self.nodes.len();
        let count = size.nodes.unwrap_or(listed.max(size.control_planes.unwrap_or(0)));
        let additional = (listed + 1..=count).map(|number| (NodeName::numbered(number), Role::Worker));
        let mut nodes: Vec<_> = self.nodes.iter().cloned().chain(additional).collect();
        if let Some(planes) = size.control_planes {
            if planes > count {
                return Err(DescriptionError::TooManyControlPlanes {
                    nodes: count,
                    control_planes: planes,
                });
            }
            for (index, (_, role)) in nodes.iter_mut().enumerate() {
                *role = if index < planes {
                    Role::ControlPlane
                } else {
                    Role::Worker
                };
            }
        }
        self.describe_nodes(&nodes)?.first_nodes(count)
    }

    fn describe_nodes(&self, nodes: &[(NodeName, Role)]) -> Result<Description, DescriptionError> {
        let described = self
            .network
            .describe(self.kubernetes.clone(), ClusterDomain::default(), nodes)?;
        Ok(described
            .with_builtin_services(self.services)
            .with_runtime(self.runtime))
    }

    /// The lock's package set for nodes with `runtime`.
    pub(crate) fn os_set(&self, runtime: ContainerRuntime) -> String {
        match self.runtimes.contains_key(&runtime) {
            true => format!("{OS_PREFIX}{runtime}"),
            false => OS_SET.to_owned(),
        }
    }

    /// The requested Debian packages by the name of their set in the lock: `os`, `os/RUNTIME` for nodes with an alternative
    /// runtime, and `image/NAME`.
    pub fn package_sets(&self) -> BTreeMap<String, Vec<String>> {
        let images = self.images.iter().filter(|(_, image)| !image.packages.is_empty());
        let runtimes = self.runtimes.iter();
        std::iter::once((OS_SET.to_owned(), self.default_packages.clone()))
            .chain(runtimes.map(|(name, runtime)| (self.os_set(*name), runtime.packages.clone())))
            .chain(images.map(|(name, image)| (format!("image/{name}"), image.packages.clone())))
            .collect()
    }
}
