//! One start by each side, measured.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use parbake_artifact::{Tag, disk_usage};
use parbake_cluster::readiness::DnsProbe;
use parbake_cluster::{Client, Description, connect, workload};
use parbake_machine::handle::Running;
use parbake_machine::pid::ProcessId;
use parbake_provision::bake::{KubeadmBaselineOptions, start_kubeadm_baseline};
use parbake_up::config::Wanted;
use parbake_up::{Cluster, ClusterName, Error, Options, dir_of, down, floor, thaw};

use super::case::{Case, Side};
use super::measure::{Measure, Sample, events};
use crate::cli::Global;
use crate::command::{block_on, supervise};

/// How long a start may take: a benchmark is for slow hosts, too.
const WAIT: Duration = Duration::from_secs(300);
/// What the directory of a cluster that kubeadm forms is called.
const WORK: &str = "bench-init";

/// Starts what `case` says from `artifact` and takes it away again: a sample for each cluster.
pub(super) fn run(global: &Global, artifact: &Tag, case: Case) -> anyhow::Result<Vec<Sample>> {
    match case.side {
        Side::Thaw => thaws(global, artifact, case),
        Side::Init => Ok(vec![init(global, artifact, case.nodes)?]),
        Side::Floor => {
            let time = block_on(floor(&options(global, artifact, 1, 1)?))??;
            Ok(vec![vec![(Measure::Api, time.as_secs_f64())]])
        }
    }
}

/// With names of their own, so that they stand in nobody's way.
fn options(global: &Global, artifact: &Tag, nodes: usize, number: usize) -> anyhow::Result<Options> {
    Ok(Options {
        tag: artifact.clone(),
        name: format!("bench-{}-{number}", std::process::id()).parse()?,
        wanted: Wanted::nodes(Some(nodes)),
        internet: false,
        wait: WAIT,
        dir: global.dir.clone(),
        supervise: supervise::command()?,
        timings: false,
        probe: true,
    })
}

fn thaws(global: &Global, artifact: &Tag, case: Case) -> anyhow::Result<Vec<Sample>> {
    let options = (1..=case.clusters).map(|number| options(global, artifact, case.nodes, number));
    let options = options.collect::<anyhow::Result<Vec<_>>>()?;
    let own = Own::now()?;
    let samples: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = options
            .iter()
            .map(|options| scope.spawn(|| thaw_one(options, &own, case.clusters)))
            .collect();
        let join = |start: thread::ScopedJoinHandle<'_, _>| match start.join() {
            Ok(sample) => sample,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        starts.into_iter().map(join).collect()
    });
    // All of them, whatever comes of the first.
    let removed: Vec<_> = options
        .iter()
        .map(|options| remove(&global.dir, &options.name))
        .collect();
    let samples = samples.into_iter().collect::<anyhow::Result<_>>()?;
    removed.into_iter().collect::<anyhow::Result<()>>()?;
    Ok(samples)
}

/// Takes a cluster away; one that did not start left nothing.
fn remove(dir: &Path, name: &ClusterName) -> anyhow::Result<()> {
    match down(dir, name) {
        Err(Error::NotFound { .. }) => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn thaw_one(options: &Options, own: &Own, clusters: usize) -> anyhow::Result<Sample> {
    let started = Instant::now();
    let thawed = block_on(thaw(options))??;
    let mut sample = events(&thawed.milestones);
    sample.extend(
        thawed
            .dns_in_pods
            .map(|time| (Measure::PodDns, time.as_secs_f64())),
    );
    let cluster = Cluster::find(&options.dir, &options.name)?;
    sample.extend(usage(cluster.running())?);
    if clusters == 1 {
        // Where one process starts several clusters, it cannot be told what it did for which.
        sample.push((Measure::OwnCpu, own.since(cluster.running())?));
    }
    block_on(async {
        let client = cluster.client().await?;
        first_pod(&client, cluster.running(), &thawed.record.cluster).await
    })??;
    sample.push((Measure::FirstPod, started.elapsed().as_secs_f64()));
    sample.push(disk(&dir_of(&options.dir, &options.name))?);
    Ok(sample)
}

fn init(global: &Global, artifact: &Tag, nodes: usize) -> anyhow::Result<Sample> {
    let started = Instant::now();
    let own = Own::now()?;
    let formed = start_kubeadm_baseline(&KubeadmBaselineOptions {
        tag: artifact.clone(),
        workspace: WORK.parse()?,
        nodes: Some(nodes),
        wait: WAIT,
        dir: global.dir.clone(),
        supervise: supervise::command()?,
    })?;
    let mut sample = events(&formed.milestones);
    sample.push((Measure::PodDns, formed.dns_in_pods.as_secs_f64()));
    // As long as kubeadm has not made the first pod, none is missing.
    sample.retain(|(measure, _)| *measure != Measure::Pods);
    sample.extend(usage(&formed.running)?);
    sample.push((Measure::OwnCpu, own.since(&formed.running)?));
    block_on(async {
        let client = connect(&formed.kubeconfig).await?;
        first_pod(&client, &formed.running, &formed.cluster).await
    })??;
    sample.push((Measure::FirstPod, started.elapsed().as_secs_f64()));
    sample.push(disk(&formed.dir)?);
    formed.remove()?;
    Ok(sample)
}

async fn first_pod(client: &Client, running: &Running, cluster: &Description) -> anyhow::Result<()> {
    let vantages = DnsProbe::of_machines(running, cluster)?;
    let vantage = vantages.first().context("a cluster has a node")?;
    Ok(workload::run_first(client, cluster, vantage, WAIT).await?)
}

fn usage(running: &Running) -> anyhow::Result<Sample> {
    let usage = running.state().cgroup.usage()?;
    Ok(vec![
        (Measure::MachineCpu, usage.cpu.as_secs_f64()),
        (Measure::Memory, usage.memory as f64),
        (Measure::Anonymous, usage.anonymous as f64),
    ])
}

fn disk(dir: &Path) -> anyhow::Result<(Measure, f64)> {
    let bytes = disk_usage(dir).with_context(|| format!("could not measure `{}`", dir.display()))?;
    Ok((Measure::Disk, bytes as f64))
}

/// The processor time that this process had used at a moment.
struct Own {
    process: ProcessId,
    before: Duration,
}

impl Own {
    fn now() -> anyhow::Result<Self> {
        let process = ProcessId::of(std::process::id())?;
        let before = process.cpu_time()?;
        Ok(Self { process, before })
    }

    /// The seconds that this process has used since, and the supervisor of the machines.
    fn since(&self, running: &Running) -> anyhow::Result<f64> {
        let own = self.process.cpu_time()?.saturating_sub(self.before);
        Ok((own + running.state().supervisor.cpu_time()?).as_secs_f64())
    }
}
