//! Bakes a provider into an artifact in the store.
//!
//! ```text
//! inputs       binaries, images and the node OS, built or downloaded ([`crate::inputs`])
//! layers       the layers that all machines share: node OS, binaries, node files, images
//! bootstrap    boot the machines, `kubeadm init` and `join`, apply add-ons, restart once
//! settle       remove credentials, compact etcd, stop all pods
//! freeze       turn the machines' files into layers, and write the artifact with its attestations
//! ```
//!
//! Every step is reused if its inputs are unchanged ([`explain`] says which are).

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

use parbake_artifact::{Artifact, MACHINE_LAYER, PolicyError, Store, StoreError, Tag};
use parbake_cluster::DescriptionError;
use parbake_machine::host::{Host, Purpose};
use parbake_machine::process::Cmd;

use crate::attestation::Attestation;
use crate::inputs::{self, Inputs, Overrides, Source};
use crate::provider::{ClusterSize, Provider};
use addons::AvailableImages;
pub use addons::MissingImages;
pub use explain::{Change, ExplainedStep, Explanation, Verdict, explain};
pub use kubeadm_baseline::{KubeadmBaseline, KubeadmBaselineOptions, start_kubeadm_baseline};
use steps::StepRecord;
use workspace::{BuildHistory, Workspace};

/// The time limit from the last join until the cluster is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
/// Version of the bake's steps, part of every key. Increase it when a step's result changes for equal inputs.
const RECIPE: &str = "11";

#[derive(Debug)]
pub struct Options {
    pub provider: Provider,
    /// The source of binaries and images.
    pub source: Source,
    /// Inputs that replace those of the source.
    pub overrides: Overrides,
    pub size: ClusterSize,
    /// Keep the machines and directories of a failed bake.
    pub keep: bool,
    /// The artifact's name in the store.
    pub tag: Tag,
    /// The state directory.
    pub dir: PathBuf,
    /// The directory in which inputs are cached between bakes.
    pub cache: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
}

#[derive(Debug)]
pub enum Outcome {
    /// A new artifact.
    Baked(Artifact),
    /// The artifact in the store, which was made from the same inputs.
    Unchanged(Artifact),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
    #[error(transparent)]
    Cluster(#[from] parbake_cluster::Error),
    #[error(
        "nodes have no `{0}`, which removes deleted secrets from etcd's files; add it to `os.binaries` of the provider"
    )]
    NoEtcdTool(&'static str),
    #[error(transparent)]
    Inputs(#[from] inputs::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Description(#[from] DescriptionError),
    #[error(transparent)]
    Images(#[from] MissingImages),
    #[error("the cluster did not become ready")]
    NotReady(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("node `{0}` was not assigned pod addresses of every IP family of the cluster")]
    PodAddresses(String),
    #[error("another bake of `{0}` is running; wait for it, or choose another name with `--tag`")]
    Busy(Tag),
}

/// Bakes an artifact, unless the store has it from the same inputs.
///
/// # Errors
/// The first step that failed. The store is unchanged, and nothing else is left behind unless `keep` is set.
pub fn provision(options: &Options) -> Result<Outcome, Error> {
    let host = Host::detect(&options.dir).require(Purpose::Provision)?;
    let cluster = options.provider.describe_sized(options.size)?;
    cluster.check_host(&host)?;
    let inputs = inputs::prepare(
        &options.provider,
        &options.source,
        &options.overrides,
        &options.cache,
    )?;
    let available = AvailableImages::new(&inputs.images);
    available.check_addons(&options.provider.addons)?;
    freeze::etcd_tool(&cluster, &inputs)?;
    let store = Store::open(&options.dir.join("store"))?;
    let history = BuildHistory::read(&options.dir, &options.tag);
    let cluster_step = steps::cluster(options, &cluster, &inputs);
    let key = cluster_step.key();
    if let Ok(artifact) = store.get(&options.tag)
        && history.is_from(&key, &artifact.digest)
    {
        if store.referrers(&artifact.digest)?.is_empty() {
            // An older parbake baked it.
            let documents = attestation(options, &inputs).documents(&artifact);
            store.attach_documents(&options.tag, &documents)?;
        }
        return Ok(Outcome::Unchanged(artifact));
    }
    let workspace = Workspace::lock(&options.dir, &options.tag, options.keep)?;
    let shared = layers::shared(options, &store, &history, &inputs, &workspace, &host)?;
    let reason = history.reason(&cluster_step.record(), steps::NO_ARTIFACT);
    tracing::info!("{}: {}", cluster_step.name, reason.why);
    let ready = bootstrap::bootstrap(options, &store, &shared, &cluster, &available, &workspace, &host)?;
    let artifact = freeze::freeze(options, &store, shared, &inputs, &workspace, ready)?;
    let input_steps = inputs.steps.iter().map(StepRecord::from);
    let bake_steps = steps::all(options, &cluster, &inputs);
    let records = input_steps
        .chain(bake_steps.iter().map(steps::Step::record))
        .collect();
    workspace::record(&options.dir, &options.tag, &key, &artifact.digest, records)?;
    workspace.finish()?;
    Ok(Outcome::Baked(artifact))
}

/// What the attestations of an artifact from these inputs are made from.
fn attestation<'a>(options: &'a Options, inputs: &'a Inputs) -> Attestation<'a> {
    Attestation {
        provider: &options.provider,
        materials: &inputs.materials,
        inputs: &inputs.key,
    }
}
