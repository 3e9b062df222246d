//! Prepares a ready cluster for freezing: removes its credentials and whatever would delay the next start, compacts the
//! database and stops all pods.

use parbake_cluster::api::static_pod_prestart;
use parbake_cluster::sanitize::purge;
use parbake_cluster::{Client, ContainerRuntime, Description};
use parbake_machine::supervisor::Running;
use tokio::runtime::Runtime;

use super::Error;
use super::node_command::{run_on, run_script};

/// Saves the rules that `parbake-iptables.service` and `parbake-ip6tables.service` restore, for each tool among the
/// arguments (`iptables`, `ip6tables`), once kube-proxy has not changed them for two of its periods.
///
/// Left out are nfacct rules, which a kernel may not support, packet counters, and the rules of network policies
/// (kube-router): those are for addresses that other pods will get, and refer to sets that will not exist, which would make
/// the whole restore fail. kube-proxy writes the rules of services in random order, so they are sorted; the rule for node
/// ports stays last.
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
/// Compacts the database to its newest revision, so that no older revision holds deleted secrets.
const COMPACT: &str = r#"
etcd=$(crictl ps -q --name '^etcd$')
ctl() {
    crictl exec "$etcd" etcdctl --endpoints=https://localhost:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
        --cert=/etc/kubernetes/pki/etcd/server.crt --key=/etc/kubernetes/pki/etcd/server.key "$@"
}
revision=$(ctl endpoint status --write-out=fields | sed -n 's/^"Revision" : //p')
ctl compact --physical "$revision"
"#;
/// Stops and removes all pods, etcd last, since the others need it for a clean shutdown. [`stop_pods`] defines the function
/// `stop`.
const STOP_PODS: &str = r#"
ctl() { crictl --timeout=60s "$@"; }
for pod in $(ctl pods -q | grep -vxF "$(ctl pods -q --name ^etcd-)" || true) $(ctl pods -q --name ^etcd-); do
    stop "$pod" || true
done
ctl rmp -fa
"#;

/// The shell script that stops all pods of a node with `runtime`.
pub(super) fn stop_pods(runtime: ContainerRuntime) -> String {
    format!("stop() {{ {}; }}{STOP_PODS}", runtime.profile().stop_pod)
}

/// Stops all pods and removes the cluster's credentials from files and database. The machines keep running. Returns the
/// number of secrets that remain because manifests or users created them.
pub(super) fn settle(
    running: &Running,
    runtime: &Runtime,
    client: &Client,
    cluster: &Description,
) -> Result<u64, Error> {
    let _step = tracing::info_span!("step", what = "settle").entered();
    let names: Vec<String> = cluster.nodes().iter().map(|node| node.name.to_string()).collect();
    for control_plane in cluster.control_planes() {
        static_pod_prestart::record(running, cluster.runtime(), control_plane)?;
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
        run_on(
            running,
            node,
            &[&["sh", "-euc", SAVE_RULES, "save"], tools.as_slice()].concat(),
        )?;
        run_on(running, node, &["systemctl", "stop", "kubelet"])?;
    }
    for control_plane in cluster.control_planes() {
        // The controller manager would recreate the tokens that are deleted next.
        let names = "^(kube-controller-manager|kube-scheduler)$";
        run_script(
            running,
            control_plane.name.as_str(),
            &format!("crictl --timeout=60s stop $(crictl ps -q --name '{names}')"),
        )?;
    }
    runtime.block_on(purge::purge_database(client))?;
    let secrets = runtime.block_on(purge::count_secrets(client))?;
    // Only the first control plane's database is frozen, for all of them.
    run_script(running, cluster.nodes()[0].name.as_str(), COMPACT)?;
    for node in names.iter().rev() {
        run_script(running, node, &stop_pods(cluster.runtime()))?;
    }
    Ok(secrets)
}
