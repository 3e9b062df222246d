//! kubeadm works on a thawed cluster, although parbake created its certificates.

use std::time::Duration;

use parbake_test_support::place::{Outcome, Place, check, eventually};

/// `certs check-expiration` and `upgrade plan` work without a network.
pub(crate) fn looks(place: &Place) -> Outcome {
    let on = |words: &[&str]| place.run(&[&["ssh", "node01", "--"], words].concat());
    let certificates = on(&["kubeadm", "certs", "check-expiration"])?;
    for name in [
        "admin.conf",
        "apiserver-etcd-client",
        "etcd-server",
        "front-proxy-client",
        "ca ",
    ] {
        check(certificates.contains(name), || certificates.clone())?;
    }
    check(!certificates.contains("MISSING"), || certificates.clone())?;
    let version = place.run(&[
        "kubectl",
        "get",
        "node",
        "node01",
        "-o",
        "jsonpath={.status.nodeInfo.kubeletVersion}",
    ])?;
    let plan = on(&[
        "kubeadm",
        "upgrade",
        "plan",
        &version,
        "--ignore-preflight-errors=all",
        "--allow-release-candidate-upgrades",
    ])?;
    check(plan.contains(&version), || plan.clone())
}

/// A node is reset and rejoins: bootstrap token, `cluster-info`, a certificate from the new CA.
pub(crate) fn joins(place: &Place) -> Outcome {
    let on = |node: &str, line: &str| place.run(&["ssh", node, "--", "sh", "-euc", line]);
    let join = on("node01", "kubeadm token create --ttl 10m --print-join-command")?;
    place.run(&["kubectl", "delete", "node", "node03"])?;
    on("node03", "kubeadm reset --force >/dev/null 2>&1")?;
    let options = "--node-name=node03 --ignore-preflight-errors=all";
    on("node03", &format!("{} {options}", join.trim()))?;
    let query = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    eventually("node03 to be ready again", Duration::from_secs(60), || {
        let ready = place.run(&["kubectl", "get", "node", "node03", "-o", query])?;
        check(ready == "True", || format!("Ready is `{ready}`"))
    })?;
    let requests = place.run(&["kubectl", "get", "csr"])?;
    check(
        requests.contains("kube-apiserver-client-kubelet") && requests.contains("Approved,Issued"),
        || requests.clone(),
    )
}
