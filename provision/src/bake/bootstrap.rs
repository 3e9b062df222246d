//! Bootstraps the cluster with kubeadm, until it is ready to be frozen.

pub(super) mod kubeadm;

use std::path::Path;
use std::time::Instant;

use ipnet::IpNet;
use jiff::Timestamp;
use parbake_artifact::{Layer, Store};
use parbake_cluster::api::nodes::untaint_control_plane;
use parbake_cluster::readiness::{DnsProbe, Expected, wait_until_ready};
use parbake_cluster::{Client, Description, Node, connect};
use parbake_machine::fs::files::failed;
use parbake_machine::host::Host;
use parbake_machine::supervisor::Running;
use tokio::runtime::Runtime;

use super::addons::{self, AvailableImages};
use super::layers::unpacked;
use super::node_command::{kubectl, run_on, run_script};
use super::settle::stop_pods;
use super::workspace::Workspace;
use super::{Error, Options, READY_TIMEOUT};
use crate::kubeadm::Profile;
use kubeadm::{ADMIN, Bootstrap, token};

/// A strategic merge patch for the deployment of CoreDNS.
const DNS_PATCH: &str = r#"{"spec": {"template": {"spec": {"containers": [
    {"name": "coredns", "readinessProbe": {"periodSeconds": 1}}
]}}}}"#;

/// A cluster that kubeadm set up and that is ready.
pub(super) struct ReadyCluster {
    /// With the pod addresses that the control plane assigned.
    pub(super) cluster: Description,
    pub(super) running: Running,
    pub(super) client: Client,
    pub(super) runtime: Runtime,
}

/// Boots the machines, runs kubeadm, applies the add-ons and restarts the cluster once.
pub(super) fn bootstrap(
    options: &Options,
    store: &Store,
    shared: &[Layer],
    cluster: &Description,
    available: &AvailableImages,
    workspace: &Workspace,
    host: &Host,
) -> Result<ReadyCluster, Error> {
    let bootstrap = Bootstrap {
        id: format!("bake-{}", std::process::id()),
        dir: workspace.dir("cluster"),
        layers: unpacked(store, shared)?,
        cluster,
        host,
        supervise: &options.supervise,
        profile: Profile::Tuned,
        token: token()?,
    };
    let (boot, started) = (Timestamp::now(), Instant::now());
    let running = bootstrap.boot()?;
    let first = bootstrap.first();
    let ca_hash = bootstrap.init(&running)?;
    tune_dns(&running, first)?;
    let runtime = runtime(&options.dir)?;
    let written = run_on(&running, first.name.as_str(), &["cat", &format!("/{ADMIN}")])?.stdout;
    let client = runtime.block_on(connect(&bootstrap.kubeconfig(&running, &written)))?;
    for node in bootstrap.others() {
        // One after the other, since pod addresses are mostly assigned in the order of the joins.
        bootstrap.join(&running, node, &ca_hash)?;
    }
    wait(&running, &runtime, &client, cluster, boot, started)?;
    if bootstrap.others().is_empty() {
        // Otherwise no workload could run. A thaw without workers does the same.
        runtime.block_on(untaint_control_plane(&client, &first.name))?;
    }
    addons::apply(
        &running,
        &runtime,
        &client,
        first,
        &options.provider.addons,
        available,
    )?;
    let cluster = assigned_pod_addresses(&running, first, cluster)?;
    drop(client);
    let bootstrap = Bootstrap {
        cluster: &cluster,
        ..bootstrap
    };
    let (running, client) = restart_once(&bootstrap, &runtime, running, &written)?;
    Ok(ReadyCluster {
        cluster,
        running,
        client,
        runtime,
    })
}

/// Stops the cluster and starts it again, as every thaw will. During kubeadm, pods get their addresses in the order of its
/// steps; at a start they get the first ones. Only after a restart do the database and the service rules have the addresses
/// of a thaw, and components have finished their work after the installation.
fn restart_once(
    bootstrap: &Bootstrap<'_>,
    runtime: &Runtime,
    running: Running,
    written: &str,
) -> Result<(Running, Client), Error> {
    let _step = tracing::info_span!("step", what = "restart the cluster once").entered();
    for node in bootstrap.cluster.nodes() {
        run_on(&running, node.name.as_str(), &["systemctl", "stop", "kubelet"])?;
    }
    for node in bootstrap.cluster.nodes().iter().rev() {
        run_script(
            &running,
            node.name.as_str(),
            &stop_pods(bootstrap.cluster.runtime()),
        )?;
    }
    let _stopped = running.stop()?;
    let (boot, started) = (Timestamp::now(), Instant::now());
    let running = bootstrap.boot()?;
    let client = runtime.block_on(connect(&bootstrap.kubeconfig(&running, written)))?;
    wait(&running, runtime, &client, bootstrap.cluster, boot, started)?;
    Ok((running, client))
}

/// The asynchronous runtime for the API's client.
pub(super) fn runtime(dir: &Path) -> Result<Runtime, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    Ok(runtime.map_err(failed("start the runtime for", dir))?)
}

/// Shortens the probe period of CoreDNS. A cluster is ready only when its DNS is, and kubeadm's period of 10 s would delay
/// every thaw by as much. Done before the first join, so that the new pods run on the control plane, which every thaw has.
fn tune_dns(running: &Running, control_plane: &Node) -> Result<(), Error> {
    let patch = ["patch", "deployment", "coredns", "--patch", DNS_PATCH];
    let rollout = ["rollout", "status", "deployment", "coredns", "--timeout=120s"];
    for args in [patch, rollout] {
        kubectl(
            running,
            control_plane,
            &[&["--namespace=kube-system"], args.as_slice()].concat(),
        )?
        .run()?;
    }
    Ok(())
}

/// The cluster with the pod addresses that the control plane assigned to the nodes. Sometimes it skips some of the plan's.
fn assigned_pod_addresses(
    running: &Running,
    control_plane: &Node,
    cluster: &Description,
) -> Result<Description, Error> {
    let query = "jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDRs[*]}{\"\\n\"}{end}";
    let output = kubectl(running, control_plane, &["get", "nodes", "-o", query])?.run()?;
    let with_assigned = |node: &Node| {
        let mut lines = output.stdout.lines().map(str::split_whitespace);
        let command =
            lines.find_map(|mut command| (command.next() == Some(node.name.as_str())).then_some(command))?;
        let networks: Result<Vec<IpNet>, _> = command.map(str::parse).collect();
        node.with_pod_cidrs(&networks.ok()?)
    };
    let nodes = cluster
        .nodes()
        .iter()
        .map(|node| with_assigned(node).ok_or_else(|| Error::PodAddresses(node.name.to_string())));
    Ok(cluster.with_nodes(nodes.collect::<Result<_, _>>()?)?)
}

fn wait(
    running: &Running,
    runtime: &Runtime,
    client: &Client,
    cluster: &Description,
    boot: Timestamp,
    started: Instant,
) -> Result<(), Error> {
    let _step = tracing::info_span!("step", what = "wait until everything is ready").entered();
    let probes = DnsProbe::for_cluster(running, cluster)?;
    let expected = Expected {
        cluster,
        boot,
        started,
    };
    let ready = wait_until_ready(client, &expected, probes, READY_TIMEOUT, |milestone, after| {
        tracing::debug!("{milestone} after {:.1} s", after.as_secs_f64());
    });
    runtime
        .block_on(ready)
        .map_err(|timed_out| Error::NotReady(timed_out.into()))?;
    Ok(())
}
