//! Starts a cluster the way of each contender, and measures it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use parbake_artifact::{Tag, disk_usage};
use parbake_cluster::readiness::DnsProbe;
use parbake_cluster::{Client, Description, connect, workload};
use parbake_machine::process::ProcessId;
use parbake_machine::supervisor::Running;
use parbake_provision::bake::{KubeadmBaselineOptions, start_kubeadm_baseline};
use parbake_up::config::ConfigRequest;
use parbake_up::{Cluster, ClusterName, Error, ThawOptions, baseline, cluster_dir, down, thaw};

use crate::case::{Case, Contender};
use crate::metric::{Metric, Sample, milestones};
use crate::{Context, TIMEOUT, block_on};

/// The name of the directory of a cluster that kubeadm creates.
const WORK: &str = "bench-init";

/// Starts the clusters of `case` from `artifact` and removes them; returns a sample for each.
pub(crate) fn run(context: &Context, artifact: &Tag, case: Case) -> Result<Vec<Sample>> {
    match case.contender {
        Contender::Thaw => thaw_all(context, artifact, case),
        Contender::Init => Ok(vec![init(context, artifact, case.nodes)?]),
        Contender::Floor => {
            let time = block_on(baseline(&options(context, artifact, 1, 1)?))??;
            Ok(vec![vec![(Metric::Api, time.as_secs_f64())]])
        }
    }
}

/// The process id in the names keeps benchmarks apart from each other and from users' clusters.
fn options(context: &Context, artifact: &Tag, nodes: usize, number: usize) -> Result<ThawOptions> {
    Ok(ThawOptions {
        tag: artifact.clone(),
        name: format!("bench-{}-{number}", std::process::id()).parse()?,
        config: ConfigRequest::nodes(Some(nodes)),
        internet: false,
        wait: TIMEOUT,
        dir: context.dir.clone(),
        supervise: context.supervise.clone(),
        timings: false,
        probe: true,
    })
}

fn thaw_all(context: &Context, artifact: &Tag, case: Case) -> Result<Vec<Sample>> {
    let options = (1..=case.clusters).map(|number| options(context, artifact, case.nodes, number));
    let options = options.collect::<Result<Vec<_>>>()?;
    let own_cpu = OwnCpu::now()?;
    let samples: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = options
            .iter()
            .map(|options| scope.spawn(|| thaw_one(options, &own_cpu, case.clusters)))
            .collect();
        let join = |start: thread::ScopedJoinHandle<'_, _>| match start.join() {
            Ok(sample) => sample,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        starts.into_iter().map(join).collect()
    });
    // Remove all clusters before reporting the first error.
    let removed: Vec<_> = options
        .iter()
        .map(|options| remove(&options.dir, &options.name))
        .collect();
    let samples = samples.into_iter().collect::<Result<_>>()?;
    removed.into_iter().collect::<Result<()>>()?;
    Ok(samples)
}

/// A cluster that failed to start does not exist any more.
fn remove(dir: &Path, name: &ClusterName) -> Result<()> {
    match down(dir, name) {
        Err(Error::NotFound { .. }) => Ok(()),
        result => Ok(result?),
    }
}

fn thaw_one(options: &ThawOptions, own_cpu: &OwnCpu, clusters: usize) -> Result<Sample> {
    let started = Instant::now();
    let thawed = block_on(thaw(options))??;
    let mut sample = milestones(&thawed.milestones);
    sample.extend(
        thawed
            .dns_in_pods
            .map(|time| (Metric::PodDns, time.as_secs_f64())),
    );
    let cluster = Cluster::find(&options.dir, &options.name)?;
    sample.extend(usage(cluster.running())?);
    if clusters == 1 {
        // This process's time cannot be split between several clusters.
        sample.push((Metric::OwnCpu, own_cpu.since(cluster.running())?));
    }
    block_on(async {
        let client = cluster.client().await?;
        first_pod(&client, cluster.running(), &thawed.record.cluster).await
    })??;
    sample.push((Metric::FirstPod, started.elapsed().as_secs_f64()));
    sample.push(disk(&cluster_dir(&options.dir, &options.name))?);
    Ok(sample)
}

fn init(context: &Context, artifact: &Tag, nodes: usize) -> Result<Sample> {
    let started = Instant::now();
    let own_cpu = OwnCpu::now()?;
    let formed = start_kubeadm_baseline(&KubeadmBaselineOptions {
        tag: artifact.clone(),
        workspace: WORK.parse()?,
        nodes: Some(nodes),
        wait: TIMEOUT,
        dir: context.dir.clone(),
        supervise: context.supervise.clone(),
    })?;
    let mut sample = milestones(&formed.milestones);
    sample.push((Metric::PodDns, formed.dns_in_pods.as_secs_f64()));
    // Before kubeadm created the first pod, "all pods ready" holds trivially.
    sample.retain(|(metric, _)| *metric != Metric::Pods);
    sample.extend(usage(&formed.running)?);
    sample.push((Metric::OwnCpu, own_cpu.since(&formed.running)?));
    block_on(async {
        let client = connect(&formed.kubeconfig).await?;
        first_pod(&client, &formed.running, &formed.cluster).await
    })??;
    sample.push((Metric::FirstPod, started.elapsed().as_secs_f64()));
    sample.push(disk(&formed.dir)?);
    formed.remove()?;
    Ok(sample)
}

async fn first_pod(client: &Client, running: &Running, cluster: &Description) -> Result<()> {
    let probes = DnsProbe::for_cluster(running, cluster)?;
    let probe = probes.first().context("the cluster has no node")?;
    Ok(workload::run_first(client, cluster, probe, TIMEOUT).await?)
}

fn usage(running: &Running) -> Result<Sample> {
    let usage = running.state().cgroup.usage()?;
    Ok(vec![
        (Metric::MachineCpu, usage.cpu.as_secs_f64()),
        (Metric::Memory, usage.memory as f64),
        (Metric::Anonymous, usage.anonymous as f64),
    ])
}

fn disk(dir: &Path) -> Result<(Metric, f64)> {
    let bytes = disk_usage(dir).with_context(|| format!("could not measure `{}`", dir.display()))?;
    Ok((Metric::Disk, bytes as f64))
}

/// The CPU time of this process at a point in time.
struct OwnCpu {
    process: ProcessId,
    before: Duration,
}

impl OwnCpu {
    fn now() -> Result<Self> {
        let process = ProcessId::of(std::process::id())?;
        let before = process.cpu_time()?;
        Ok(Self { process, before })
    }

    /// Seconds that this process and the supervisor of the machines have used since.
    fn since(&self, running: &Running) -> Result<f64> {
        let own = self.process.cpu_time()?.saturating_sub(self.before);
        Ok((own + running.state().supervisor.cpu_time()?).as_secs_f64())
    }
}
