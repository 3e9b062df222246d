//! `parbake provision`

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;

use parbake_artifact::{Artifact, Tag};
use parbake_provision::bake::{self, Explanation, Options, Outcome, Verdict};
use parbake_provision::inputs::{BinaryOverride, CustomOs, ExtraImage, Overrides, Source};
use parbake_provision::provider::{Addon, ClusterSize, ContainerRuntime, IpStack, Provider};
use parbake_up::events::{EventKind, Log};
use serde::Serialize;

use super::supervise;
use crate::args::{CacheArgs, GlobalArgs, MirrorArgs, ProvidersArgs, RegistryArgs, node_count, path};
use crate::output::{self, count, size, table};

const EXAMPLES: &str = "\
Examples:
  parbake provision k8s-1.34                           bake, unless nothing changed
  parbake provision k8s-1.34 --nodes 1 --tag small     a single node
  parbake provision k8s-1.34 --nodes 8 --tag large     more workers than the provider lists
  parbake provision k8s-1.34 --variant slim            without add-ons, as `k8s-1.34-slim`
  parbake provision k8s-1.34 --manifest app/ --image app.tar --tag with-app
                                                       with an application
  parbake provision k8s-1.34 --control-planes 3 --tag k8s-1.34-ha
                                                       high availability
  parbake provision k8s-1.34 --stack dual --tag dual   IPv4 and IPv6
  parbake provision k8s-1.34 --source release --binary-mirror URL --image-mirror REGISTRY
                                                       published binaries and images, from mirrors
  parbake provision k8s-1.34 --source ~/kubernetes --tag dev
                                                       your own build of Kubernetes
  parbake provision k8s-1.34 --kubelet FILE --tag dev  your own kubelet only
  parbake provision k8s-1.34 --kubelet FILE --explain  show what that would do, and why
  parbake provision k8s-1.34 --os rootfs.tar --tag own your own node OS
  parbake provision k8s-1.34 --keep                    keep the machines of a failed bake

Sources: `release` downloads published binaries and images by the digests that `parbake provider
update` pinned. `modules` builds from Go modules. `auto` uses `release` where everything is pinned
and reachable, otherwise `modules`, and says which and why. A directory is a build output of
Kubernetes (a checkout, its `_output`, or a directory with binaries); what it lacks is taken as with
`auto`. Add-ons are always built from Go modules.

Manifests are applied in the order of their file names, and waited for. The artifact must contain
every image that a pod or a template names. Unchanged steps are reused from the last bake. A failed
bake changes no artifact. A node OS needs systemd, dbus, containerd, runc, CNI plugins, iptables and
the other programs that Kubernetes calls; missing ones are reported before anything is built.";

/// Bake a provider: create its cluster with kubeadm, and freeze it into an artifact
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The provider, such as k8s-1.34
    provider: String,
    /// The artifact's name in the store [default: that of the provider, with that of the variant]
    #[arg(long)]
    tag: Option<Tag>,
    /// Show which steps would run, and why, without running them
    #[arg(long)]
    explain: bool,
    /// Keep the machines' directories of a failed bake
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    cluster: BakedClusterArgs,
    #[command(flatten)]
    content: ContentArgs,
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    mirrors: MirrorArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
struct BakedClusterArgs {
    /// Bake this variant of the provider, with other add-ons and services
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// How many nodes to bake; more than the provider lists are workers [default: all it lists]
    #[arg(long, value_name = "N", value_parser = node_count())]
    nodes: Option<usize>,
    /// How many nodes are control planes with etcd, an odd number [default: as the provider lists]
    #[arg(long, value_name = "N", value_parser = odd)]
    control_planes: Option<usize>,
    /// IP families of nodes, pods and services: ipv4, ipv6 or dual [default: that of the provider]
    #[arg(long, value_name = "STACK")]
    stack: Option<IpStack>,
    /// Container runtime: containerd, cri-o or docker, if the provider offers it [default: that of
    /// the provider]
    #[arg(long, value_name = "RUNTIME")]
    runtime: Option<ContainerRuntime>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Content")]
struct ContentArgs {
    /// Also bake an optional add-on of the provider; repeatable
    #[arg(long = "addon", value_name = "NAME")]
    addons: Vec<String>,
    /// Also apply a manifest, a directory of manifests or an add-on; repeatable
    #[arg(long = "manifest", value_name = "PATH", value_parser = path())]
    manifests: Vec<PathBuf>,
    /// Also add an image: an archive as for `parbake image load`, `NAME=FILE` to name it, or
    /// REFERENCE@DIGEST in a registry; repeatable
    #[arg(long = "image", value_name = "IMAGE")]
    images: Vec<ExtraImage>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Inputs")]
struct InputArgs {
    /// Where binaries and images come from: auto, release, modules or a directory
    #[arg(long, default_value = "auto", value_parser = source)]
    source: Source,
    /// Use this kubelet
    #[arg(long, value_name = "FILE", value_parser = path())]
    kubelet: Option<PathBuf>,
    /// Use this binary, on nodes or in the image that contains it; repeatable
    #[arg(long = "binary", value_name = "NAME=FILE")]
    binaries: Vec<BinaryOverride>,
    /// Use this node OS instead of Debian packages: a directory, a tar archive (plain, gzip, xz, zstd, bzip2),
    /// an image as for `parbake image load`, or REFERENCE@DIGEST in a registry
    #[arg(long, value_name = "OS")]
    os: Option<CustomOs>,
    #[command(flatten)]
    providers: ProvidersArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    tag: Tag,
    digest: String,
    /// Bytes of all layers, compressed.
    size: u64,
    nodes: usize,
    /// True if the store already had the artifact from the same inputs.
    unchanged: bool,
}

/// An even number of etcd members tolerates no more failures than one member less.
fn odd(text: &str) -> Result<usize, String> {
    let number: Option<usize> = text.parse().ok();
    number
        .filter(|number| !number.is_multiple_of(2))
        .ok_or_else(|| format!("`{text}` is not an odd number"))
}

pub(super) fn source(text: &str) -> Result<Source, Infallible> {
    text.parse()
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let explain = self.explain;
        let options = self.options(global)?;
        if explain {
            return output::print(global.output, &bake::explain(&options)?, explanation_text);
        }
        let report = match &bake::provision(&options)? {
            Outcome::Baked(artifact) => {
                let tag = artifact.tag.clone();
                Log::new(&global.dir).record(EventKind::Baked { artifact: tag });
                report(artifact, false)
            }
            Outcome::Unchanged(artifact) => report(artifact, true),
        };
        output::report(global.output, &report, text)
    }

    fn options(self, global: &GlobalArgs) -> anyhow::Result<Options> {
        let Self {
            cluster,
            content,
            inputs,
            ..
        } = self;
        let mut provider = Provider::find(&self.provider, &inputs.providers.dir())?;
        if let Some(variant) = &cluster.variant {
            provider.select_variant(variant)?;
        }
        if let Some(runtime) = cluster.runtime {
            provider.select_runtime(runtime)?;
        }
        if let Some(stack) = cluster.stack {
            provider.select_ip_stack(stack);
        }
        for addon in &content.addons {
            provider.select_addon(addon)?;
        }
        for path in &content.manifests {
            provider.add_addon(Addon::load(path, &BTreeMap::new())?)?;
        }
        let tag = match self.tag {
            Some(tag) => tag,
            None => provider.tag().parse()?,
        };
        let kubelet = inputs.kubelet.map(|path| BinaryOverride {
            name: "kubelet".to_owned(),
            path,
        });
        Ok(Options {
            provider,
            source: inputs.source,
            overrides: Overrides {
                images: content.images,
                os: inputs.os,
                binaries: inputs.binaries.into_iter().chain(kubelet).collect(),
                mirrors: self.mirrors.into(),
                registry: self.registry.into(),
            },
            size: ClusterSize {
                nodes: cluster.nodes,
                control_planes: cluster.control_planes,
            },
            keep: self.keep,
            tag,
            dir: global.dir.clone(),
            cache: inputs.cache.dir(global),
            supervise: supervise::command()?,
        })
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

fn explanation_text(explanation: &Explanation) -> String {
    let rows = explanation.steps.iter().map(|step| {
        let verdict = match step.verdict {
            Verdict::Runs => "runs",
            Verdict::Reused => "reused",
            Verdict::Unknown => "may run",
        };
        [step.step.clone(), verdict.to_owned(), step.why.clone()]
    });
    let end = match explanation.unchanged {
        true => "nothing to do: the artifact was baked from these inputs\n",
        false => "",
    };
    format!("{}{end}", table(["STEP", "", "REASON"], rows))
}

fn text(report: &Report) -> String {
    let verb = match report.unchanged {
        true => "up to date",
        false => "baked",
    };
    format!(
        "{verb}: `{tag}`, {nodes}, {size}, {digest}\nstart it with `parbake up {tag}`\n",
        tag = report.tag,
        nodes = count(report.nodes, "node"),
        size = size(report.size),
        digest = report.digest,
    )
}
