//! `parbake provision`

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;

use parbake_artifact::{Artifact, Tag};
use parbake_provision::bake::{self, Explanation, Options, Outcome, Verdict};
use parbake_provision::inputs::{CustomOs, ExtraImage, GivenBinary, Overrides, Source};
use parbake_provision::provider::{Addon, ClusterSize, ContainerRuntime, IpStack, Provider};
use parbake_up::events::{EventKind, Log};
use serde::Serialize;

use super::registry::{MirrorArgs, RegistryArgs};
use super::supervise;
use crate::cli::Global;
use crate::output::{self, count, size, table};

const EXAMPLES: &str = "\
Examples:
  parbake provision k8s-1.34                           bake, or say that nothing changed
  parbake provision k8s-1.34 --nodes 1 --tag small     a smaller one beside it
  parbake provision k8s-1.34 --variant slim            without add-ons, as `k8s-1.34-slim`
  parbake provision k8s-1.34 --nodes 8 --tag large     a larger one, with more workers than it lists
  parbake provision k8s-1.34 --manifest app/ --image app.tar --tag with-app    with an application
  parbake provision k8s-1.34 --control-planes 3 --tag k8s-1.34-ha
                                                       one of three control planes may die
  parbake provision k8s-1.34 --stack dual --tag dual   with IPv4 and IPv6
  parbake provision k8s-1.34 --source release --binary-mirror URL --image-mirror REGISTRY
                                                       published binaries and images, from mirrors
  parbake provision k8s-1.34 --source ~/kubernetes --tag dev    what `make` built there
  parbake provision k8s-1.34 --kubelet FILE --tag dev  another kubelet, the rest as it was
  parbake provision k8s-1.34 --os rootfs.tar --tag own  nodes of your own operating system
  parbake provision k8s-1.34 --kubelet FILE --explain  what that would do, and why
  parbake provision k8s-1.34 --keep                    leave what a failed bake made, for a look

Manifests are applied in the order of the files' names, and waited for. Every image that a pod or a
template names must be in the artifact.
What did not change since the last bake is reused; a bake that fails changes no artifact.
Source `release` takes published binaries and images by the digests in the provider's lock, where
`parbake provider update` pins them; `modules` builds from Go modules; `auto` takes `release` where
it is pinned and can be reached, otherwise `modules`, and says which and why. A folder is a build
output of Kubernetes: a checkout, its `_output`, or a folder with binaries; what it lacks is as with
`auto`. Add-ons are built from Go modules in any case.
A node OS of your own has systemd, dbus, containerd, runc, CNI plugins, iptables and what else
Kubernetes calls; what it lacks is said at once, before anything is made.";

/// Bake a provider: form its cluster with kubeadm, and freeze it into an artifact
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The provider, such as k8s-1.34
    provider: String,
    /// Bake this variant of it: the same with other add-ons and services
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Where binaries and images come from: auto, release, modules or a folder
    #[arg(long, default_value = "auto", value_parser = source)]
    source: Source,
    /// Take this kubelet
    #[arg(long, value_name = "FILE")]
    kubelet: Option<PathBuf>,
    /// Take this binary instead of the source's: on nodes, or in the image that has it; once for each
    #[arg(long = "binary", value_name = "NAME=FILE")]
    binaries: Vec<GivenBinary>,
    /// Take this for the nodes' operating system instead of Debian's packages: a directory, a tar archive (as it is, gzip, xz,
    /// zstd), a container image as `parbake image load` takes, or one in a registry as REF@DIGEST
    #[arg(long, value_name = "OS")]
    os: Option<CustomOs>,
    /// How many nodes to bake; more than the provider lists are further workers [default: all it lists]
    #[arg(long, value_name = "N", value_parser = super::node_count())]
    nodes: Option<usize>,
    /// Bake one of the add-ons that the provider offers, too; once for each
    #[arg(long = "addon", value_name = "NAME")]
    addons: Vec<String>,
    /// Apply what is in a manifest, a folder of manifests or an add-on, too; once for each
    #[arg(long = "manifest", value_name = "PATH")]
    manifests: Vec<PathBuf>,
    /// Put an image into the artifact: a file as `parbake image load` takes, `NAME=FILE` where it has no name, or an
    /// image in a registry as REF@DIGEST; once for each
    #[arg(long = "image", value_name = "IMAGE")]
    images: Vec<ExtraImage>,
    /// How many of the nodes, the first ones, hold the control plane, with etcd on each of them: 1, 3, 5, ... [default:
    /// as the provider lists them]
    #[arg(long, value_name = "N", value_parser = odd)]
    control_planes: Option<usize>,
    /// Which addresses nodes, pods and services have: ipv4, ipv6 or dual, which is both [default: as the provider has them]
    #[arg(long, value_name = "STACK")]
    stack: Option<IpStack>,
    /// What runs containers on the nodes: containerd, cri-o or docker, as far as the provider offers it [default: as the provider
    /// has it]
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<ContainerRuntime>,
    /// Say which steps would run, and why, and do none of them
    #[arg(long)]
    explain: bool,
    /// Leave the machines' directories of a failed bake
    #[arg(long)]
    keep: bool,
    /// What the artifact is called in the store [default: the provider's name, with that of the variant]
    #[arg(long)]
    tag: Option<Tag>,
    #[command(flatten)]
    mirrors: MirrorArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    tag: Tag,
    digest: String,
    /// Bytes of all layers, compressed.
    size: u64,
    nodes: usize,
    /// Whether the store had it from the same inputs.
    unchanged: bool,
}

/// Of an even number no more may fail than of one less.
fn odd(text: &str) -> Result<usize, String> {
    let number: Option<usize> = text.parse().ok();
    number
        .filter(|number| !number.is_multiple_of(2))
        .ok_or_else(|| format!("`{text}` is no odd number"))
}

pub(super) fn source(text: &str) -> Result<Source, Infallible> {
    text.parse()
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut provider = Provider::find(&self.provider, &global.providers)?;
        if let Some(variant) = &self.variant {
            provider.select_variant(variant)?;
        }
        if let Some(runtime) = self.runtime {
            provider.select_runtime(runtime)?;
        }
        if let Some(stack) = self.stack {
            provider.select_ip_stack(stack);
        }
        for addon in &self.addons {
            provider.choose(addon)?;
        }
        for path in &self.manifests {
            provider.add(Addon::load(path, &BTreeMap::new())?)?;
        }
        let tag = match self.tag {
            Some(tag) => tag,
            None => provider.tag().parse()?,
        };
        let kubelet = self.kubelet.map(|path| GivenBinary {
            name: "kubelet".to_owned(),
            path,
        });
        let binaries = self.binaries.into_iter().chain(kubelet).collect();
        let options = Options {
            provider,
            source: self.source,
            overrides: Overrides {
                images: self.images,
                os: self.os,
                binaries,
                mirrors: self.mirrors.into(),
                registry: self.registry.into(),
            },
            size: ClusterSize {
                nodes: self.nodes,
                control_planes: self.control_planes,
            },
            keep: self.keep,
            tag,
            dir: global.dir.clone(),
            cache: global.cache(),
            supervise: supervise::command()?,
        };
        if self.explain {
            return output::print(global.output, &bake::explain(&options)?, explained);
        }
        let outcome = bake::provision(&options)?;
        let report = match &outcome {
            Outcome::Baked(artifact) => {
                let tag = artifact.tag.clone();
                Log::new(&global.dir).record(EventKind::Baked { artifact: tag });
                report(artifact, false)
            }
            Outcome::Unchanged(artifact) => report(artifact, true),
        };
        output::print(global.output, &report, text)
    }
}

fn report(artifact: &Artifact, unchanged: bool) -> Report {
    Report {
        tag: artifact.tag.clone(),
        digest: artifact.digest.to_string(),
        size: artifact.size(),
        nodes: artifact.config.machines.len(),
        unchanged,
    }
}

fn explained(explanation: &Explanation) -> String {
    let rows = explanation.steps.iter().map(|step| {
        let verdict = match step.verdict {
            Verdict::Runs => "runs",
            Verdict::Reused => "is reused",
            Verdict::Unknown => "may run",
        };
        [step.step.clone(), verdict.to_owned(), step.why.clone()]
    });
    let end = match explanation.unchanged {
        true => "nothing would be done: the artifact is of these inputs\n",
        false => "",
    };
    format!("{}{end}", table(["STEP", "", "WHY"], rows))
}

fn text(report: &Report) -> String {
    let verb = if report.unchanged {
        "is up to date"
    } else {
        "is baked"
    };
    format!(
        "`{tag}` {verb}: {nodes}, {size}, {digest}\nstart it with `parbake up {tag}`\n",
        tag = report.tag,
        nodes = count(report.nodes, "node"),
        size = size(report.size),
        digest = report.digest,
    )
}
