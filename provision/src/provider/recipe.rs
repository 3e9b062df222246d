//! What a provider file says, validated.

use std::collections::BTreeMap;

use parbake_cluster::{
    BuiltinServices, ClusterDomain, Description, DescriptionError, IpFamilies, KubernetesVersion, NodeName,
    Role,
};
use semver::Version;

use super::{AlternativeRuntime, ContainerRuntime, OS_SET, Published, Variant, VariantName, read};
use parbake_cluster::diagnostics::Problems;

/// Where a generator leaves what it makes.
pub(super) const OUT: &str = "{out}";
/// The packages that a generator reads.
pub(super) const PACKAGES: &str = "{packages}";

/// What a provider file says: one cluster, with everything it is made of.
///
/// ```toml
/// kubernetes = "1.34.4"                 # what kubeadm is told to install
/// nodes = [                             # exactly one control plane
///     { name = "node01", role = "control-plane" },
///     { name = "node02", role = "worker" },
/// ]
///
/// [network]                             # private, apart from each other
/// nodes = "10.89.0.0/24"                # IPv4, IPv6 in fd00::/8, or a list of one of each
/// pods = "10.244.0.0/16"                # a /24 of it for every node, of IPv6 a /64
/// services = "10.96.0.0/12"
///
/// [os]                                  # Debian; what is named here, and what that needs
/// suite = "bookworm"
/// packages = ["systemd-sysv", "containerd"]
/// binaries = ["kubelet", "kubeadm"]     # what else every node has
/// root = "os.tar"                       # instead of the packages: a directory, an archive or an image; may be left out
///
/// [components]                          # versions of everything else that is built
/// etcd = "3.6.5"
/// pause = "3.10.1"
///
/// [modules.kubernetes]                  # `modules/kubernetes/go.mod` and `go.sum` beside the provider file
/// go = "1.26.8"                         # the toolchain that builds it
/// commands = { kubeadm = "k8s.io/kubernetes/cmd/kubeadm" }
/// tags = ["minimal"]                    # which of its files count (go help buildconstraint); may be left out
/// c = { pinns = "example.org/m//src" }  # programs of C: all `*.c` of a module's folder; may be left out
/// variables = { "k8s.io/component-base/version.gitVersion" = "v1.34.4" }
/// # Source files that a module was published without are `generated`, see `Generated`.
///
/// [release]                             # where source `release` finds what nodes have; images are where kubeadm says
/// kubelet = "https://dl.k8s.io/release/v{kubernetes}/bin/linux/{arch}/kubelet"
/// etcdctl = "image/etcd:/usr/local/bin/etcdctl"
///
/// [images.etcd]                         # named as in `kubeadm config images list`
/// files = { "/usr/local/bin/etcd" = "etcd" }
/// links = { "/usr/sbin/iptables" = "xtables-nft-multi" }
/// packages = ["iptables"]               # Debian packages beside the files, and what these need
/// entrypoint = ["/usr/local/bin/etcd"]
///
/// # Further up, among the first fields: add-ons of the folder `manifests` beside that of providers, in the order in which
/// # they are applied, and what is different about their options.
/// addons = ["local-storage"]
/// # Further ones, which a bake has when it is asked for them: pinned like the others.
/// optional = ["conformance"]
/// options.local-storage = { path = "/srv" }
/// # What runs containers: `containerd` where it is left out.
/// runtime = "containerd"
/// # Further runtimes, which can be chosen for a bake, are `runtimes`, see `AlternativeRuntime`.
/// [services]                            # what the control plane runs beside Kubernetes; nothing where it is left out
/// dns = true                            # names of nodes; needs the package `dnsmasq-base`
/// registry = true                       # a registry, `registry:5000`; needs the binary `registry`
///
/// [variants.slim]                       # the same with other add-ons, which `addons` or `optional` name
/// addons = []
/// services = { dns = true }             # in the place of `services` above; as there where it is left out
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The version of Kubernetes.
    pub kubernetes: KubernetesVersion,
    /// The nodes in order: their addresses follow from it. The first one is the control plane.
    pub nodes: Vec<(NodeName, Role)>,
    /// The cluster's networks.
    pub network: IpFamilies,
    /// The node operating system.
    pub os: Os,
    /// The packages of its own runtime's nodes, whichever is chosen.
    pub(super) default_packages: Vec<String>,
    /// What runs containers on the nodes.
    pub runtime: ContainerRuntime,
    /// What the provider file has for it.
    pub default_runtime: ContainerRuntime,
    /// What can be chosen instead.
    pub runtimes: BTreeMap<ContainerRuntime, AlternativeRuntime>,
    /// Versions by name of component (`etcd`, `coredns`, `pause`, ...).
    pub components: BTreeMap<String, Version>,
    /// What is built from Go modules, by name of the folder under `modules/`.
    pub modules: BTreeMap<String, Modules>,
    /// Where binaries are published, by name; nothing for a provider that can only be built.
    pub release: BTreeMap<String, Published>,
    /// The container images, by short name (`kube-apiserver`, `etcd`, ...).
    pub images: BTreeMap<String, ImageRecipe>,
    /// The add-ons, in the order in which they are applied.
    pub addons: Vec<String>,
    /// The names of add-ons that are baked only when they are asked for.
    pub optional: Vec<String>,
    /// Values of add-ons' options, by name of the add-on.
    pub options: BTreeMap<String, BTreeMap<String, String>>,
    /// What the control plane runs for nodes and their users beside Kubernetes.
    pub services: BuiltinServices,
    /// Its variants, by name.
    pub variants: BTreeMap<VariantName, Variant>,
}

/// How large a cluster is to be, where it is not as the provider lists it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterSize {
    /// How many nodes.
    pub nodes: Option<usize>,
    /// How many of them, the first ones, hold the control plane: an odd number, since of an even one no more may fail.
    pub control_planes: Option<usize>,
}

/// The node operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Os {
    /// The Debian release, by code name.
    pub suite: String,
    /// The Debian packages that are asked for; the lock adds what they need.
    pub packages: Vec<String>,
    /// The names of the binaries that nodes have beside the packages.
    pub binaries: Vec<String>,
    /// What nodes have instead of the packages: a directory, an archive or an image in a file, by its path below the
    /// provider's folder, or an image in a registry, by its digest.
    pub root: Option<String>,
}

/// One main module and the commands that are built in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modules {
    /// The Go toolchain that builds it.
    pub go: Version,
    /// Name of the binary and import path of its `main` package.
    pub commands: BTreeMap<String, String>,
    /// Name of the binary and import path of the package whose tests it holds.
    pub tests: BTreeMap<String, String>,
    /// Name of a file, which images may have as they have binaries, and where it is: in which module, and its path there.
    pub files: BTreeMap<String, (String, String)>,
    /// Name of a program of C, and where its sources are: in which module, and their folder there.
    pub c: BTreeMap<String, (String, String)>,
    /// Build tags, which say which of its files count (`go help buildconstraint`).
    pub tags: Vec<String>,
    /// String variables that the linker sets, by `importpath.name`.
    pub variables: BTreeMap<String, String>,
    /// Source files that a module was published without, and how they are made: in which module, and their path there.
    pub generated: BTreeMap<(String, String), Generated>,
}

/// How a source file is made that a module was published without.
///
/// ```toml
/// [modules.kubernetes.generated."k8s.io/kubernetes//pkg/generated/openapi/zz_generated.openapi.go"]
/// by = "k8s.io/kube-openapi/cmd/openapi-gen"  # the generator, a package of the same `go.mod`
/// marker = "+k8s:openapi-gen="                # packages with this word are its `{packages}`
/// arguments = ["--output-base", "{out}", "--input-dirs", "{packages}"]
/// ```
///
/// The generator runs in the folder of the `go.mod` and leaves the file below `{out}`, at `MODULE/PATH`. The commands are
/// built as if the module had it (`go build -overlay`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The import path of the generator's `main` package.
    pub by: String,
    /// What the generator is told: `{out}` stands for a new directory, `{packages}` for the import paths of packages,
    /// with commas between them.
    pub arguments: Vec<String>,
    /// Those of the packages that the commands are made of which have this text in one of their files.
    pub marker: Option<String>,
}

/// What a container image is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageRecipe {
    /// Absolute path in the image and name of the binary that goes there.
    pub files: BTreeMap<String, String>,
    /// Those of `files` that run as their owner, root, whoever starts them (chmod(2), `S_ISUID` and `S_ISGID`).
    pub setuid: Vec<String>,
    /// Absolute path in the image and target of the symbolic link that goes there.
    pub links: BTreeMap<String, String>,
    /// Empty directories that everyone may write into, such as `/tmp` (mode 1777).
    pub directories: Vec<String>,
    /// Debian packages that are unpacked into the image; the lock adds what they need.
    pub packages: Vec<String>,
    /// The image's entry point; may be empty where the pod says what to run.
    pub entrypoint: Vec<String>,
    /// What the entry point is given where the pod says nothing else.
    pub arguments: Vec<String>,
    /// Who runs it where the pod does not say (OCI image configuration, `User`); root where empty.
    pub user: String,
}

impl ImageRecipe {
    /// Whether nothing at all is said of it.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Generated {
    /// What the generator is told when it has the directory `out` and is to read `packages`.
    pub(crate) fn arguments(&self, out: &str, packages: &[String]) -> Vec<String> {
        let packages = packages.join(",");
        let arguments = self.arguments.iter();
        arguments
            .map(|word| word.replace(OUT, out).replace(PACKAGES, &packages))
            .collect()
    }
}

impl Modules {
    /// The names of all that comes of it.
    pub fn binaries(&self) -> impl Iterator<Item = &String> {
        self.commands
            .keys()
            .chain(self.tests.keys())
            .chain(self.files.keys())
            .chain(self.c.keys())
    }
}

impl Recipe {
    /// Reads and validates the text of a provider file.
    ///
    /// # Errors
    /// Every problem of the text, with line and column: syntax, unknown fields, wrong types, bad values.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        read::recipe(text)
    }

    /// The cluster that comes of it, with every address.
    ///
    /// # Errors
    /// None for a recipe that was parsed: parsing has tried it.
    pub fn describe(&self) -> Result<Description, DescriptionError> {
        self.describe_nodes(&self.nodes)
    }

    /// The cluster of another `size`: with the first nodes, or with all of them and more, called `node04` and so on.
    ///
    /// # Errors
    /// A control plane would be left out, the networks have no room for so many, or a name comes twice.
    pub fn describe_sized(&self, size: ClusterSize) -> Result<Description, DescriptionError> {
        let listed = self.nodes.len();
        let count = size.nodes.unwrap_or(listed.max(size.control_planes.unwrap_or(0)));
        let more = (listed + 1..=count).map(|number| (NodeName::numbered(number), Role::Worker));
        let mut nodes: Vec<_> = self.nodes.iter().cloned().chain(more).collect();
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

    /// The Debian packages asked for, by name of the set that the lock keeps for them: `os`, `os/RUNTIME` for nodes with
    /// another runtime than the provider's own, and `image/NAME`.
    pub fn package_sets(&self) -> BTreeMap<String, Vec<String>> {
        let images = self.images.iter().filter(|(_, image)| !image.packages.is_empty());
        let runtimes = self.runtimes.iter();
        std::iter::once((OS_SET.to_owned(), self.default_packages.clone()))
            .chain(runtimes.map(|(runtime, offered)| (self.os_set(*runtime), offered.packages.clone())))
            .chain(images.map(|(name, image)| (format!("image/{name}"), image.packages.clone())))
            .collect()
    }
}
