//! The cluster itself: machines booted side by side, `kubeadm init`, `kubeadm join`, ready.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;
use parbake_artifact::{Layer, Store};
use parbake_cluster::machines::{self, Surroundings};
use parbake_cluster::readiness::{Expected, Vantage, wait_until_ready};
use parbake_cluster::{Client, Description, Node, connect};
use parbake_machine::host::Host;
use parbake_machine::plan::Forward;
use parbake_machine::running::Running;
use tokio::runtime::Runtime;

use super::boot::{on, shell, wait_for_runtime};
use super::layers::unpacked;
use super::work::Work;
use super::{Error, Options, READY};
use crate::kubeadm;

/// What is different about CoreDNS: a strategic merge patch of its deployment.
const DNS_PATCH: &str = r#"{"spec": {"template": {"spec": {"containers": [
    {"name": "coredns", "readinessProbe": {"periodSeconds": 1}}
]}}}}"#;

/// A cluster that was formed by kubeadm and is ready.
pub(super) struct Formed {
    pub(super) running: Running,
    pub(super) client: Client,
    pub(super) runtime: Runtime,
}

/// Boots the machines and forms the cluster.
pub(super) fn form(
    options: &Options,
    store: &Store,
    shared: &[Layer],
    cluster: &Description,
    work: &Work,
    host: &Host,
) -> Result<Formed, Error> {
    let token = token()?;
    let (boot, started) = (Timestamp::now(), Instant::now());
    let running = boot_machines(options, unpacked(store, shared)?, cluster, work, host, &token)?;
    let mut planes = cluster.control_planes();
    let Some(first) = planes.next() else {
        unreachable!("a description has a control plane")
    };
    init(&running, first)?;
    quicken_dns(&running, first)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|source| Error::Files {
            act: "start threads for",
            path: options.dir.clone(),
            source,
        })?;
    let kubeconfig = on(
        &running,
        first.name.as_str(),
        &["cat", "/etc/kubernetes/admin.conf"],
    )?
    .stdout;
    let kubeconfig = kubeconfig.replace(&cluster.api_url(), &format!("https://{}", running.ports()[0]));
    let client = runtime.block_on(connect(&kubeconfig))?;
    let ca_hash = ca_hash(&running, first)?;
    for node in cluster.nodes().iter().filter(|node| node.name != first.name) {
        // One after the other: pod addresses are handed out in the order of arrival.
        join(
            &running,
            node,
            &kubeadm::join_config(node, &kubeadm::endpoint(first), &token, &ca_hash),
        )?;
    }
    wait(&running, &runtime, &client, cluster, boot, started)?;
    check_pod_addresses(&running, first, cluster)?;
    Ok(Formed {
        running,
        client,
        runtime,
    })
}

fn boot_machines(
    options: &Options,
    layers: Vec<PathBuf>,
    cluster: &Description,
    work: &Work,
    host: &Host,
    token: &str,
) -> Result<Running, Error> {
    let _step =
        tracing::info_span!("step", what = format!("boot {} machines", cluster.nodes().len())).entered();
    let decisions = host.decide();
    let surroundings = Surroundings {
        id: &format!("bake-{}", std::process::id()),
        dir: &work.dir("cluster"),
        host: &decisions,
        forwards: vec![Forward {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            to: cluster.api_server().into(),
        }],
        end_with_parent: true,
    };
    let plan = machines::plan(
        cluster,
        surroundings,
        |_| layers.clone(),
        |node| kubeadm::init_files(cluster, node, token),
    )?;
    let running = Running::start(&plan, &options.supervise)?;
    for node in cluster.nodes() {
        wait_for_runtime(&running, node.name.as_str())?;
    }
    Ok(running)
}

fn init(running: &Running, node: &Node) -> Result<(), Error> {
    let _step = tracing::info_span!("step", what = format!("kubeadm init on {}", node.name)).entered();
    let name = node.name.as_str();
    on(running, name, &["kubeadm", "init", "--config", kubeadm::CONFIG])?;
    Ok(())
}

/// A cluster is only ready when its DNS is, and with the period of kubeadm's manifest that is seen up to 10 s late at
/// every thaw. Before the first join, so that the new pods stay on the control plane, which every thaw has.
fn quicken_dns(running: &Running, plane: &Node) -> Result<(), Error> {
    let kubectl = [
        "kubectl",
        "--kubeconfig=/etc/kubernetes/admin.conf",
        "--namespace=kube-system",
    ];
    let patch = ["patch", "deployment", "coredns", "--patch", DNS_PATCH];
    on(
        running,
        plane.name.as_str(),
        &[kubectl.as_slice(), &patch].concat(),
    )?;
    Ok(())
}

fn join(running: &Running, node: &Node, config: &str) -> Result<(), Error> {
    let _step = tracing::info_span!("step", what = format!("kubeadm join on {}", node.name)).entered();
    let name = node.name.as_str();
    running
        .command(name, ["sh", "-euc", &format!("cat > {}", kubeadm::CONFIG)])?
        .stdin(config)
        .run()?;
    on(running, name, &["kubeadm", "join", "--config", kubeadm::CONFIG])?;
    Ok(())
}

/// Nodes get their pods' addresses from the control plane; the network was set up for those of the plan.
fn check_pod_addresses(running: &Running, plane: &Node, cluster: &Description) -> Result<(), Error> {
    let query = "jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDR}{\"\\n\"}{end}";
    let kubectl = [
        "kubectl",
        "--kubeconfig=/etc/kubernetes/admin.conf",
        "get",
        "nodes",
        "-o",
        query,
    ];
    let output = on(running, plane.name.as_str(), &kubectl)?;
    for node in cluster.nodes() {
        let mut lines = output.stdout.lines().filter_map(|line| line.split_once(' '));
        let given = lines
            .find(|(name, _)| *name == node.name.as_str())
            .map_or("", |(_, given)| given);
        let planned = node.pod_cidr.to_string();
        if given != planned {
            return Err(Error::PodAddresses {
                node: node.name.to_string(),
                given: given.to_owned(),
                planned,
            });
        }
    }
    Ok(())
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
    let vantages = Vantage::of_machines(running, cluster)?;
    let expected = Expected {
        cluster,
        boot,
        started,
    };
    let ready = wait_until_ready(client, &expected, vantages, READY, |milestone, after| {
        tracing::info!("{milestone} after {:.1} s", after.as_secs_f64());
    });
    runtime
        .block_on(ready)
        .map_err(|timed_out| Error::NotReady(timed_out.into()))?;
    Ok(())
}

/// The hash that lets a joining node trust the control plane's CA, as kubeadm's documents compute it.
fn ca_hash(running: &Running, node: &Node) -> Result<String, Error> {
    let output = shell(
        running,
        node.name.as_str(),
        "kubeadm token create --print-join-command",
    )?;
    let find = |text: &str| {
        let hash = text.split_whitespace().find(|word| word.starts_with("sha256:"));
        hash.map(str::to_owned).ok_or("no hash of the CA's key")
    };
    Ok(output.parse(find)?)
}

/// A bootstrap token (Kubernetes documentation, 'Authenticating with Bootstrap Tokens', Token Format).
fn token() -> Result<String, Error> {
    let mut bytes = [0_u8; 11];
    getrandom::fill(&mut bytes).map_err(|error| Error::Files {
        act: "read random bytes from",
        path: "/dev/urandom".into(),
        source: std::io::Error::other(error),
    })?;
    let digits = hex::encode(bytes);
    Ok(format!("{}.{}", &digits[..6], &digits[6..]))
}
