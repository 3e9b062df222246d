//! The copy made fit to be frozen: alone, under an identity of its own, with nothing but runtimes and the database at work.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use parbake_artifact::{Artifact, Store};
use parbake_cluster::machine_plan::{self, LaunchContext};
use parbake_cluster::readiness::wait_until_api;
use parbake_cluster::sanitize_files::{self, Owner};
use parbake_cluster::wait::{Poll, Wait};
use parbake_cluster::{Client, ContainerRuntime, Description, Node, connect, purge};
use parbake_machine::fs::Dirs;
use parbake_machine::fs::files::failed;
use parbake_machine::fs::overlay;
use parbake_machine::host::HostSettings;
use parbake_machine::supervisor::Running;

use super::Options;
use crate::Error;
use crate::host_ports::forward;
use crate::identity::{self, Identity};
use crate::layer_stacks::{stack_of, stacks};
use crate::standalone_control_plane::{self, StandaloneControlPlane};
use crate::state::{ClusterLock, Record};

/// What does not start on the copy: no workload may run, and no container of the control plane.
const MASKED: [&str; 5] = [
    "kubelet.service",
    "parbake-head-start.service",
    "parbake-iptables.service",
    "parbake-ip6tables.service",
    "parbake-registry.service",
];
/// How long the runtimes, and the API, may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Compacts the database to its newest revision, so that deleted secrets are in no old one. The tool is the node's own or
/// that of etcd's image.
const COMPACT: &str = r#"
for dir in /var/lib/parbake/images/etcd/*/usr/local/bin; do PATH=$PATH:$dir; done
ctl() {
    ETCDCTL_API=3 etcdctl --endpoints=https://localhost:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
        --cert=/etc/kubernetes/pki/etcd/server.crt --key=/etc/kubernetes/pki/etcd/server.key "$@"
}
revision=$(ctl endpoint status --write-out=fields | sed -n 's/^"Revision" : //p')
ctl compact --physical "$revision"
"#;
/// Boots the copy in `scratch`, has it forget what must not be frozen, and stops it; gives how many secrets it keeps.
pub(super) async fn settle(
    options: &Options,
    host: &HostSettings,
    store: &Store,
    parent: &Artifact,
    record: &Record,
    scratch: &ClusterLock,
) -> Result<u64, Error> {
    let _step = tracing::info_span!("step", what = "settle the copy").entered();
    let cluster = &record.cluster;
    // Before there is a new identity: the old one must not be left beside it.
    for node in cluster.nodes() {
        sanitize_files::scrub(&upper(scratch, node), Owner::User)?;
    }
    let stacks = stacks(store, parent, cluster)?;
    let identity = Identity::new(cluster, &identity::Options::default())?;
    let surroundings = LaunchContext {
        id: &format!("freeze-{}", std::process::id()),
        dir: scratch.dir(),
        host,
        // Its API is the first control plane's, with or without others.
        forwards: vec![forward(cluster, None)],
        internet: false,
        end_with_parent: true,
        again: false,
    };
    let files = |node: &Node| {
        let files = identity.files(node).into_iter();
        files.chain(standalone_control_plane::masks(&MASKED)).collect()
    };
    let stack = |node: &Node| stack_of(&stacks, node);
    let plan = machine_plan::plan(cluster, surroundings, stack, files)?;
    let running = Running::start(&plan, &options.supervise)?;
    for node in cluster.nodes() {
        forget_pods(&running, cluster.runtime(), node).await?;
    }
    let plane = &cluster.nodes()[0];
    // A user may have changed the manifests since.
    let mut layers = stack_of(&stacks, plane);
    layers.push(upper(scratch, plane));
    let url = format!("https://{}", running.ports()[0]);
    let client = connect(&identity.super_admin_kubeconfig(&url)).await?;
    // Whoever is asked by the API server before it changes something does not run.
    let without_webhooks = "--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook";
    let mut alone = StandaloneControlPlane::read(&layers)?.with_api_server_flag(without_webhooks);
    if cluster.control_planes().nth(1).is_some() {
        // One member of several has no majority, and the others get its database in the end.
        alone = alone.with_etcd_flag("--force-new-cluster");
    }
    let ended = alone.start(&running, plane.name.as_str())?;
    let kept = tokio::select! {
        kept = forget(&client, &running, plane) => kept?,
        error = ended => return Err(error),
    };
    drop(client);
    standalone_control_plane::end(&running, plane.name.as_str())?;
    let _stopped = running.stop()?;
    for node in cluster.nodes() {
        let upper = upper(scratch, node);
        sanitize_files::scrub(&upper, Owner::User)?;
        standalone_control_plane::unmask(&upper, &MASKED).map_err(failed("remove", &upper))?;
    }
    let planes: Vec<_> = cluster
        .control_planes()
        .map(|node| (node, upper(scratch, node)))
        .collect();
    sanitize_files::renew_database(&planes, &etcd_tool(cluster, &stack_of(&stacks, plane))?)?;
    for (_, upper) in &planes {
        overlay::mark_opaque(&upper.join(sanitize_files::ETCD).join("member"))?;
    }
    Ok(kept)
}

fn upper(scratch: &ClusterLock, node: &Node) -> PathBuf {
    Dirs(&machine_plan::machine_dir(scratch.dir(), node)).upper()
}

async fn forget_pods(running: &Running, runtime: ContainerRuntime, node: &Node) -> Result<(), Error> {
    let name = node.name.as_str();
    let answers = running.command(name, ["crictl", "version"])?;
    Wait::new(format!("the runtime of `{name}` to answer"), PATIENCE)
        .until(|| async {
            match answers.run() {
                Ok(_) => Poll::Seen(()),
                Err(error) => Poll::Pending(error.to_string()),
            }
        })
        .await?;
    let forget = runtime.answers().forget_pods;
    running.command(name, ["sh", "-euc", forget])?.run()?;
    Ok(())
}

async fn forget(client: &Client, running: &Running, plane: &Node) -> Result<u64, Error> {
    wait_until_api(client, PATIENCE).await?;
    purge::forget(client).await?;
    let kept = purge::count_secrets(client).await?;
    running
        .command(plane.name.as_str(), ["sh", "-euc", COMPACT])?
        .run()?;
    Ok(kept)
}

/// etcd's offline tool in layers: among a node's own programs, or in the image of etcd.
fn etcd_tool(cluster: &Description, layers: &[PathBuf]) -> Result<PathBuf, Error> {
    let tool = cluster.kubernetes().dialect().etcd_tool();
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
