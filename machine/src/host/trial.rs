//! Trials: what parbake will do, done once in temporary namespaces.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::thread;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::tool::Tool;
use crate::fs::overlay;
use crate::namespace::unshare;
use crate::net::{Endpoint, NetNs, Network};
use crate::process::Cmd;

/// The outcome of a trial, with the reason unless it worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeResult {
    Works,
    Failed(String),
    NotTried(String),
}

/// Rules of every kind that kube-proxy writes (kubernetes `pkg/proxy/iptables`).
const KUBE_PROXY_RULES: &str = "\
*filter
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m comment --comment \"no endpoints\" -m addrtype --dst-type LOCAL -j REJECT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-SEP - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -m statistic --mode random --probability 0.5 -j KUBE-SEP
-A KUBE-SEP -j MARK --or-mark 0x4000
-A KUBE-SEP -p tcp -m tcp -j DNAT --to-destination 192.0.2.11:6443
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
COMMIT
";

/// Address translation by nf_tables, as for kube-proxy's nftables mode.
const NFTABLES_RULES: &str = "\
table ip parbake {
  chain trial {
    type nat hook prerouting priority -100
    ct state new ip daddr 10.96.0.1 tcp dport 443 dnat to 192.0.2.11:6443
  }
}
";

impl ProbeResult {
    /// The outcome of every trial if the user is not root.
    pub(super) fn not_root() -> Self {
        Self::NotTried("needs root".to_owned())
    }

    fn new(outcome: Result<(), impl Into<Box<dyn Error>>>) -> Self {
        outcome.map_or_else(
            |error| Self::Failed(one_line(error.into().as_ref())),
            |()| Self::Works,
        )
    }
}

/// Creates one namespace of each kind that a machine needs.
pub(super) fn namespaces() -> ProbeResult {
    let all = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWCGROUP;
    ProbeResult::new(on_thread(|| unshare(all)))
}

/// Mounts an overlay with its directories in `dir`, in a private mount namespace, and changes its content.
pub(super) fn overlay(dir: &Path) -> ProbeResult {
    ProbeResult::new(on_thread(|| {
        unshare(UnshareFlags::NEWNS)?;
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        let dir = tempfile::Builder::new()
            .prefix(".parbake-trial-")
            .tempdir_in(dir)?;
        overlay_in(dir.path())
    }))
}

fn overlay_in(dir: &Path) -> io::Result<()> {
    let [lower, upper, work, root] = ["lower", "upper", "work", "root"].map(|name| dir.join(name));
    fs::create_dir_all(lower.join("replaced/inner"))?;
    fs::write(lower.join("removed"), "")?;
    let mounted = overlay::Overlay::mount(&[lower], &upper, &work, &root)
        .map_err(|error| io::Error::other(one_line(&error)))?;
    fs::remove_file(root.join("removed"))?;
    fs::remove_dir_all(root.join("replaced"))?;
    fs::create_dir(root.join("replaced"))?;
    drop(mounted);
    let whiteout = fs::symlink_metadata(upper.join("removed"))?;
    if !whiteout.file_type().is_char_device() || whiteout.rdev() != 0 {
        return Err(io::Error::other(
            "a removed file left no whiteout (character device 0:0)",
        ));
    }
    let mut opaque = [0; 1];
    let length = rustix::fs::getxattr(upper.join("replaced"), "trusted.overlay.opaque", &mut opaque)?;
    match &opaque[..length] {
        b"y" => Ok(()),
        _ => Err(io::Error::other(
            "a replaced directory was not marked `trusted.overlay.opaque`",
        )),
    }
}

/// Creates the network of a cluster with one machine.
pub(super) fn bridge() -> ProbeResult {
    ProbeResult::new(cluster_network().map(drop))
}

/// Loads rules of the kinds that kube-proxy writes.
pub(super) fn iptables(tool: Option<&Tool>) -> ProbeResult {
    firewall(tool, &[], KUBE_PROXY_RULES)
}

/// Adds a table with a chain.
pub(super) fn nftables(tool: Option<&Tool>) -> ProbeResult {
    firewall(tool, &["-f", "-"], NFTABLES_RULES)
}

fn firewall(tool: Option<&Tool>, args: &[&str], rules: &str) -> ProbeResult {
    let Some(tool) = tool else {
        return ProbeResult::NotTried("the program is not installed".to_owned());
    };
    let load = || {
        let loaded = Cmd::new(&tool.path).args(args).stdin(rules).run();
        loaded
            .map(drop)
            .map_err(|error| io::Error::other(one_line(&error)))
    };
    ProbeResult::new(NetNs::create().and_then(|namespace| namespace.run(load)))
}

fn cluster_network() -> Result<Network, Box<dyn Error>> {
    let endpoint = Endpoint {
        name: "node01".to_owned(),
        address: "192.0.2.11/24".parse()?,
        second_address: None,
        pod_networks: Vec::new(),
    };
    Ok(Network::create(&["192.0.2.1/24".parse()?], &[endpoint])?)
}

/// Runs `act` in a thread that ends, since it leaves its namespaces.
fn on_thread(act: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    thread::scope(|scope| {
        scope
            .spawn(act)
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread of the trial panicked")))
    })
}

/// An error and its causes, in one line.
fn one_line(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts.join(": ").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::{ProbeResult, bridge, iptables, namespaces, nftables, overlay};
    use crate::host::Tool;
    use crate::host::tool::find_all;

    #[test]
    fn all_trials_work_on_this_host_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = || {
            fs::read_to_string("/proc/self/mounts")
                .unwrap()
                .matches(".parbake-trial-")
                .count()
        };
        assert_eq!(overlay(dir.path()), ProbeResult::Works);
        assert_eq!((fs::read_dir(dir.path()).unwrap().count(), mounts()), (0, 0));
        assert_eq!(namespaces(), ProbeResult::Works);
        assert_eq!(bridge(), ProbeResult::Works);
        let tools = find_all();
        assert_eq!(iptables(tools.get("iptables-restore")), ProbeResult::Works);
        assert_eq!(nftables(tools.get("nft")), ProbeResult::Works);
    }

    #[test]
    fn failed_trial_has_a_reason() {
        let no_program = Tool {
            path: PathBuf::from("/bin/false"),
            version: None,
        };
        let ProbeResult::Failed(reason) = iptables(Some(&no_program)) else {
            panic!("did not fail")
        };
        assert_eq!(reason, "`/bin/false` failed (exit status: 1)");
        let ProbeResult::Failed(reason) = overlay(std::path::Path::new("/proc")) else {
            panic!("did not fail")
        };
        assert!(reason.contains("/proc"), "{reason}");
        assert!(matches!(nftables(None), ProbeResult::NotTried(_)));
    }
}
