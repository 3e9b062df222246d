//! The bake: from a provider to an artifact in the store.

mod addons;
mod bootstrap;
mod explain;
mod freeze;
mod images;
mod kubeadm_baseline;
mod layers;
mod node_command;
mod settle;
mod steps;
mod workspace;

use std::path::PathBuf;
use std::time::Duration;

use parbake_artifact::{Artifact, MACHINE_LAYER, Store, StoreError, Tag};
use parbake_cluster::client::ClientError;
use parbake_cluster::head_start::HeadStartError;
use parbake_cluster::sanitize_files::ScrubError;
use parbake_cluster::version_compat::UnfitHost;
use parbake_cluster::{ApiError, BrokenDescription, DescriptionError};
use parbake_cluster::{machine_plan, runtime_config};
use parbake_machine::host::{Host, Purpose};
use parbake_machine::process::Cmd;

use crate::attestation::Attestation;
use crate::inputs::{self, Inputs, Overrides, Source};
use crate::provider::{ClusterSize, Provider};
use addons::Known;
pub use addons::MissingImages;
pub use explain::{Change, ExplainedStep, Explanation, Verdict, explain};
pub use kubeadm_baseline::{KubeadmBaseline, KubeadmBaselineOptions, start_kubeadm_baseline};
use steps::StepRecord;
use workspace::{BuildHistory, Workspace};

/// How long the cluster may take from its last join until it is ready.
const READY: Duration = Duration::from_secs(300);
/// Changes whenever the steps of a bake do, so that an artifact of older steps does not pass for a fresh one.
const RECIPE: &str = "11";

/// What to bake, and where.
#[derive(Debug)]
pub struct Options {
    /// The recipe.
    pub provider: Provider,
    /// Where binaries and images come from.
    pub source: Source,
    /// What is given by hand; manifests are add-ons of the provider.
    pub overrides: Overrides,
    /// How many nodes, where not as many as the provider lists.
    pub size: ClusterSize,
    /// Leave machines and directories of a failed bake for a look.
    pub keep: bool,
    /// What the artifact is called in the store.
    pub tag: Tag,
    /// Where parbake keeps its state.
    pub dir: PathBuf,
    /// Where inputs are kept between bakes.
    pub cache: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
}

/// What a bake came to.
#[derive(Debug)]
pub enum Outcome {
    /// A new artifact.
    Baked(Artifact),
    /// The artifact in the store was made from these very inputs.
    Unchanged(Artifact),
}

/// A bake that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A command, a file operation or a machine failed, or the host is not supported.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
    /// The cluster cannot run on this host.
    #[error(transparent)]
    Unfit(#[from] UnfitHost),
    /// What writes the database's files anew is missing, without which the keys of the bake would stay in them.
    #[error(
        "nodes have no `{0}`, which the database is frozen with; add it to `os.binaries` of the provider"
    )]
    NoEtcdTool(&'static str),
    /// The inputs could not be had.
    #[error(transparent)]
    Inputs(#[from] inputs::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The provider's nodes or networks contradict each other.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The machines could not be planned.
    #[error(transparent)]
    Plan(#[from] machine_plan::Error),
    /// The container runtime's configuration is damaged.
    #[error(transparent)]
    Runtime(#[from] runtime_config::Error),
    /// The cluster's API could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The cluster's API refused something.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// How the control plane runs could not be recorded.
    #[error(transparent)]
    HeadStart(#[from] HeadStartError),
    /// A machine's files could not be made fit to be frozen.
    #[error(transparent)]
    Scrub(#[from] ScrubError),
    /// Pods would not start.
    #[error(transparent)]
    Images(#[from] MissingImages),
    /// The cluster did not become ready.
    #[error("the cluster did not become ready")]
    NotReady(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The artifact's description of its cluster makes no sense.
    #[error(transparent)]
    Artifact(#[from] BrokenDescription),
    /// A node got no pod addresses, so its pods would not be reached.
    #[error("node `{0}` was not given pod addresses of every family that it should have")]
    PodAddresses(String),
    /// Another bake of the same tag is running.
    #[error("`{0}` is being baked already; wait for it, or bake under another name with `--tag`")]
    Busy(Tag),
}

/// Bakes an artifact, unless the store has it from the same inputs.
///
/// # Errors
/// The first step that failed. The store is as it was then, and nothing else is left unless `keep` is set.
pub fn provision(options: &Options) -> Result<Outcome, Error> {
    let host = Host::detect(&options.dir).require(Purpose::Provision)?;
    let cluster = options.provider.describe_sized(options.size)?;
    cluster.suits(&host)?;
    let inputs = inputs::prepare(
        &options.provider,
        &options.source,
        &options.overrides,
        &options.cache,
    )?;
    let known = Known::new(&inputs.images);
    known.suffice_for(&options.provider.addons)?;
    freeze::etcd_tool(&cluster, &inputs)?;
    let store = Store::open(&options.dir.join("store"))?;
    let history = BuildHistory::read(&options.dir, &options.tag);
    let forming = steps::cluster(options, &cluster, &inputs);
    let key = forming.key();
    if let Ok(artifact) = store.get(&options.tag)
        && history.is_from(&key, &artifact.digest)
    {
        if store.referrers(&artifact.digest)?.is_empty() {
            // An older parbake made it.
            let documents = attestation(options, &inputs).documents(&artifact);
            store.attach_documents(&options.tag, &documents)?;
        }
        return Ok(Outcome::Unchanged(artifact));
    }
    let workspace = Workspace::claim(&options.dir, &options.tag, options.keep)?;
    let shared = layers::shared(options, &store, &history, &inputs, &workspace, &host)?;
    let lost = "the store has no artifact of these inputs by this name";
    let reason = history.reason(&forming.done(), lost);
    tracing::info!("{}: {}", forming.name, reason.why);
    let formed = bootstrap::bootstrap(options, &store, &shared, &cluster, &known, &workspace, &host)?;
    let artifact = freeze::freeze(options, &store, shared, &inputs, &workspace, formed)?;
    let made = inputs.steps.iter().map(StepRecord::from);
    let baked = steps::all(options, &cluster, &inputs);
    let done = made.chain(baked.iter().map(steps::Step::done)).collect();
    workspace::remember(&options.dir, &options.tag, &key, &artifact.digest, done)?;
    workspace.done()?;
    Ok(Outcome::Baked(artifact))
}

/// What there is to tell of where an artifact of these inputs comes from.
fn attestation<'a>(options: &'a Options, inputs: &'a Inputs) -> Attestation<'a> {
    Attestation {
        provider: &options.provider,
        materials: &inputs.materials,
        inputs: &inputs.key,
    }
}
