//! From a running, ready cluster to one that can be frozen: no credential of its own left, nothing that would hold
//! the next start up, databases small and closed.

use parbake_cluster::{Client, ContainerRuntime, Description, head_start, purge};
use parbake_machine::supervisor::Running;
use tokio::runtime::Runtime;

use super::Error;
use super::node_command::{on, shell};

/// What `parbake-iptables.service` and `parbake-ip6tables.service` restore, for each of the tools that are named (`iptables`,
/// `ip6tables`), once kube-proxy has had nothing to add for two of its periods. The kernel
/// may know no nfacct, and the counters mean nothing any more. Rules of network policies (kube-router's) stay out: they are
/// for addresses that other pods get, and name sets that are not there, for which all would be refused. kube-proxy writes the
/// rules of services in any order, each is for other packets; those of node ports come last.
const SAVE_RULES: &str = r#"
mkdir -p /var/lib/parbake
cd /var/lib/parbake
rules() {
    "$1-save" | grep -v -e nfacct -e '^#' -e KUBE-ROUTER- -e KUBE-POD-FW- -e KUBE-NWPLCY- | sed 's/\[[0-9:]*\]/[0:0]/' | awk '
        /^-A KUBE-SERVICES / && !/KUBE-NODEPORTS/ { if (!services++) fflush(); print | "sort"; next }
        services { close("sort"); services = 0 }
        { print }'
}
for tool do rules "$tool" > "$tool.rules"; done
for _ in $(seq 30); do
    sleep 2
    changed=
    for tool do
        rules "$tool" > rules.now
        cmp -s rules.now "$tool.rules" || changed=yes
        mv rules.now "$tool.rules"
    done
    [ "$changed" ] || break
done
"#;
/// Compacts the database to its newest revision, so that deleted secrets are in no old one.
const COMPACT: &str = r#"
etcd=$(crictl ps -q --name '^etcd$')
ctl() {
    crictl exec "$etcd" etcdctl --endpoints=https://localhost:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
        --cert=/etc/kubernetes/pki/etcd/server.crt --key=/etc/kubernetes/pki/etcd/server.key "$@"
}
revision=$(ctl endpoint status --write-out=fields | sed -n 's/^"Revision" : //p')
ctl compact --physical "$revision"
"#;
/// Ends every pod, etcd last, since the others need it to end in order. There is a function `stop` already, see
/// [`stop_pods`].
const STOP_PODS: &str = r#"
ctl() { crictl --timeout=60s "$@"; }
for pod in $(ctl pods -q | grep -vxF "$(ctl pods -q --name ^etcd-)" || true) $(ctl pods -q --name ^etcd-); do
    stop "$pod" || true
done
ctl rmp -fa
"#;

/// The shell script that ends every pod of a node with `runtime`.
pub(super) fn stop_pods(runtime: ContainerRuntime) -> String {
    format!("stop() {{ {}; }}{STOP_PODS}", runtime.answers().stop_pod)
}

/// Quiets the cluster down and removes its credentials, files and database alike. The machines still run afterwards,
/// with no pod left. Says how many secrets stay that manifests made.
pub(super) fn settle(
    running: &Running,
    runtime: &Runtime,
    client: &Client,
    cluster: &Description,
) -> Result<u64, Error> {
    let _step = tracing::info_span!("step", what = "settle").entered();
    let names: Vec<String> = cluster.nodes().iter().map(|node| node.name.to_string()).collect();
    for plane in cluster.control_planes() {
        head_start::record(running, cluster.runtime(), plane)?;
    }
    let networks = cluster.networks();
    let tools = [
        ("iptables", networks.has_ipv4()),
        ("ip6tables", networks.has_ipv6()),
    ];
    let tools: Vec<&str> = tools
        .into_iter()
        .filter_map(|(tool, has)| has.then_some(tool))
        .collect();
    for node in &names {
        on(
            running,
            node,
            &[&["sh", "-euc", SAVE_RULES, "save"], tools.as_slice()].concat(),
        )?;
        on(running, node, &["systemctl", "stop", "kubelet"])?;
    }
    for plane in cluster.control_planes() {
        // They would make anew what is deleted next.
        let names = "^(kube-controller-manager|kube-scheduler)$";
        shell(
            running,
            plane.name.as_str(),
            &format!("crictl --timeout=60s stop $(crictl ps -q --name '{names}')"),
        )?;
    }
    runtime.block_on(purge::forget(client))?;
    let secrets = runtime.block_on(purge::count_secrets(client))?;
    // What the first control plane has is what all get when they are frozen.
    shell(running, cluster.nodes()[0].name.as_str(), COMPACT)?;
    for node in names.iter().rev() {
        shell(running, node, &stop_pods(cluster.runtime()))?;
    }
    Ok(secrets)
}
