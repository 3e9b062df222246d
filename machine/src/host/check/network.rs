//! Checks of the network.

use crate::host::Host;
use crate::host::kernel::KernelSupport;
use crate::host::trial::ProbeResult;

use super::{Check, Status, outcome};

pub(super) fn conntrack(host: &Host) -> Check {
    let remedy =
        "boot a kernel with CONFIG_NF_CONNTRACK, or load the module `nf_conntrack` on the container's host";
    match host.network.conntrack {
        KernelSupport::Present => Check::ok("conntrack", "present"),
        KernelSupport::Loadable => Check::ok("conntrack", "a module, loaded when needed"),
        KernelSupport::Missing => {
            Check::failed("conntrack", "missing: service addresses would not work", remedy)
        }
    }
}

pub(super) fn bridge_netfilter(host: &Host) -> Check {
    let name = "bridge netfilter";
    match host.network.bridge_netfilter {
        KernelSupport::Present => Check::ok(name, "present"),
        KernelSupport::Loadable => Check::ok(name, "a module, loaded when needed"),
        KernelSupport::Missing => Check::warning(
            name,
            "missing: a pod cannot reach a service whose pod is on the same node, since the answer stays on the \
             bridge and never passes the rules that translate it back",
            "load the module `br_netfilter`, on the container's host if this is one",
        ),
    }
}

pub(super) fn bridge(host: &Host) -> Check {
    let remedy = "boot a kernel with CONFIG_BRIDGE and CONFIG_VETH, and give the container CAP_NET_ADMIN";
    outcome("bridge and veth", "can be created", &host.network.bridge, remedy)
}

pub(super) fn iptables(host: &Host) -> Check {
    let remedy = "boot a kernel with the matches and targets that kube-proxy uses (comment, conntrack, statistic, \
                  mark, addrtype, DNAT, MASQUERADE, REJECT), or load their modules on the container's host";
    filter(
        "iptables",
        "accepts the kinds of rules that kube-proxy writes",
        &host.network.iptables,
        remedy,
    )
}

pub(super) fn nftables(host: &Host) -> Check {
    let check = filter(
        "nftables",
        "works",
        &host.network.nftables,
        "boot a kernel with CONFIG_NF_TABLES if kube-proxy is to use it",
    );
    // Nodes may use legacy iptables, and kube-proxy rarely runs in nftables mode.
    Check {
        status: check.status.min(Status::Warning),
        ..check
    }
}

/// Nodes can use a packet filter even if the host has no program to try it with.
fn filter(name: &str, works: &str, trial: &ProbeResult, remedy: &str) -> Check {
    match trial {
        ProbeResult::NotTried(reason) => {
            let remedy = format!("install it to check the kernel's part: `apt-get install {name}`");
            Check::warning(name, format!("not tried: {reason}"), remedy)
        }
        _ => outcome(name, works, trial, remedy),
    }
}
