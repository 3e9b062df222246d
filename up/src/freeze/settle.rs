//! Prepares the copy of a cluster for packing: it boots in isolation, under an identity of its own, with only the container
//! runtimes and the database running.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use parbake_cluster::launch::api_port;
use parbake_cluster::model::machine_plan::{self, Boot};
use parbake_cluster::model::runtime_config;
use parbake_cluster::readiness::wait_until_api;
use parbake_cluster::sanitize::node_files::{self, Owner};
use parbake_cluster::sanitize::purge;
use parbake_cluster::{Client, ContainerRuntime, Description, Node, connect};
use parbake_machine::fs::Dirs;
use parbake_machine::fs::files::failed;
use parbake_machine::fs::overlay;
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;

use crate::error::Error;
use crate::identity::{self, Identity};
use crate::launch::{Launch, Launcher};
use crate::standalone_control_plane::{self, KUBERNETES_UNITS, StandaloneControlPlane};
use crate::state::ClusterLock;

/// The unit of the cluster's registry, which does not start on the copy either.
const REGISTRY_UNIT: &str = "parbake-registry.service";
/// How long the API of the copy may take to answer.
const API_TIMEOUT: Duration = Duration::from_secs(60);
/// Flag of etcd: one member of several has no majority. The others get a copy of its database in the end.
const SINGLE_MEMBER: &str = "--force-new-cluster";
/// Compacts the database to its newest revision, so that older ones do not contain deleted secrets. `etcdctl` is the node's own
/// or the one in etcd's image.
const COMPACT: &str = r#"
for dir in /var/lib/parbake/images/etcd/*/usr/local/bin; do PATH=$PATH:$dir; done
ctl() {
    ETCDCTL_API=3 etcdctl --endpoints=https://localhost:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
        --cert=/etc/kubernetes/pki/etcd/server.crt --key=/etc/kubernetes/pki/etcd/server.key "$@"
}
revision=$(ctl endpoint status --write-out=fields | sed -n 's/^"Revision" : //p')
ctl compact --physical "$revision"
"#;

/// Boots the copy in `scratch`, removes from it what must not be frozen, and stops it. Returns the number of secrets that it
/// keeps.
pub(super) async fn settle(
    launcher: &Launcher,
    cluster: &Description,
    scratch: &ClusterLock,
    supervise: &Cmd,
) -> Result<u64, Error> {
    let _step = tracing::info_span!("step", what = "settle the copy").entered();
    // Before there is a new identity, so that nothing of the old one stays beside it.
    for node in cluster.nodes() {
        node_files::sanitize(&upper(scratch, node), Owner::User)?;
    }
    let stacks = launcher.stacks(cluster)?;
    let identity = Identity::new(cluster, &identity::Options::default())?;
    let masked = [&KUBERNETES_UNITS[..], &[REGISTRY_UNIT]].concat();
    let (running, _plan) = launcher.start(Launch {
        id: &format!("freeze-{}", std::process::id()),
        dir: scratch.dir(),
        cluster,
        stacks: &stacks,
        boot: Boot::First,
        forwards: vec![api_port(cluster, None)],
        internet: false,
        end_with_parent: true,
        files: &|node| {
            let files = identity.files(node).into_iter();
            files.chain(standalone_control_plane::masks(&masked)).collect()
        },
        config: None,
        supervise,
    })?;
    for node in cluster.nodes() {
        forget_pods(&running, cluster.runtime(), node)?;
    }
    let first = &cluster.nodes()[0];
    let mut layers = stacks.get(first);
    // Users may have changed the manifests.
    layers.push(upper(scratch, first));
    // Webhooks do not run on the copy, and policies of users are not for what a freeze removes.
    let admission = cluster.kubernetes().compat().rejecting_admission_plugins();
    let mut standalone = StandaloneControlPlane::read(&layers)?.without_admission(&admission);
    if cluster.control_planes().nth(1).is_some() {
        standalone = standalone.with_etcd_flag(SINGLE_MEMBER);
    }
    let url = format!("https://{}", running.ports()[0]);
    let client = connect(&identity.super_admin_kubeconfig(&url)).await?;
    let exited = standalone.start(&running, first.name.as_str())?;
    let kept = tokio::select! {
        kept = purge_database(&client, &running, first) => kept?,
        error = exited => return Err(error),
    };
    drop(client);
    standalone_control_plane::stop(&running, first.name.as_str())?;
    let _stopped = running.stop()?;
    for node in cluster.nodes() {
        let upper = upper(scratch, node);
        node_files::sanitize(&upper, Owner::User)?;
        standalone_control_plane::unmask(&upper, &masked).map_err(failed("remove masks in", &upper))?;
    }
    let control_planes: Vec<_> = cluster
        .control_planes()
        .map(|node| (node, upper(scratch, node)))
        .collect();
    node_files::rebuild_etcd(&control_planes, &etcd_tool(cluster, &stacks.get(first))?)?;
    for (_, upper) in &control_planes {
        overlay::mark_opaque(&upper.join(node_files::ETCD_DIR).join("member"))?;
    }
    Ok(kept)
}

fn upper(scratch: &ClusterLock, node: &Node) -> PathBuf {
    Dirs(&machine_plan::machine_dir(scratch.dir(), node)).upper()
}

/// Removes all pods from the container runtime of `node`.
fn forget_pods(running: &Running, runtime: ContainerRuntime, node: &Node) -> Result<(), Error> {
    let name = node.name.as_str();
    runtime_config::wait_until_runtime_answers(&running.command(name, ["crictl", "version"])?)?;
    let forget = runtime.profile().remove_pods;
    running.command(name, ["sh", "-euc", forget])?.run()?;
    Ok(())
}

/// Removes credentials and what belongs to the running cluster from the database. Returns the number of secrets left.
async fn purge_database(client: &Client, running: &Running, first: &Node) -> Result<u64, Error> {
    wait_until_api(client, API_TIMEOUT).await?;
    purge::purge_database(client).await?;
    let kept = purge::count_secrets(client).await?;
    running
        .command(first.name.as_str(), ["sh", "-euc", COMPACT])?
        .run()?;
    Ok(kept)
}

/// The path of etcd's offline tool in `layers`: among the node's own programs, or in etcd's image.
fn etcd_tool(cluster: &Description, layers: &[PathBuf]) -> Result<PathBuf, Error> {
    let tool = cluster.kubernetes().compat().etcd_tool();
    let images = |layer: &PathBuf| {
        let versions = fs::read_dir(layer.join(machine_plan::IMAGES_DIR).join("etcd"));
        let dirs = versions.into_iter().flatten().flatten();
        dirs.map(|dir| dir.path().join("usr/local/bin"))
            .collect::<Vec<_>>()
    };
    let own = layers.iter().map(|layer| layer.join("usr/bin"));
    own.chain(layers.iter().flat_map(images))
        .map(|dir| dir.join(tool))
        .find(|path| path.is_file())
        .ok_or(Error::NoEtcdTool { tool })
}
