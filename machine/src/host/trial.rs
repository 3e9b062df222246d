//! Trials: what parbake will do, done once for real, in namespaces that vanish with the thread that made them.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::netns::NetNs;
use crate::network::{self, Endpoint};
use crate::overlay;
use crate::process::Cmd;

use super::tool::Tool;

/// The outcome of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeResult {
    /// It worked.
    Works,
    /// It failed; with the reason.
    Failed(String),
    /// It could not be tried; with the reason.
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
    /// The trials of a host where the user is not root.
    pub(super) fn not_root() -> Self {
        Self::NotTried("needs root".to_owned())
    }

    fn of(outcome: Result<(), impl Into<Box<dyn Error>>>) -> Self {
        outcome.map_or_else(
            |error| Self::Failed(reasons(error.into().as_ref())),
            |()| Self::Works,
        )
    }
}

/// Makes one namespace of each kind that a machine needs.
pub(super) fn namespaces() -> ProbeResult {
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    ProbeResult::of(on_thread(|| Ok(unshare(all)?)))
}

/// Mounts an overlay with its directories in `dir` and changes what is in it, where nobody else sees it.
pub(super) fn overlay(dir: &Path) -> ProbeResult {
    ProbeResult::of(on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let nothing = None::<&str>;
        mount(
            nothing,
            "/",
            nothing,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            nothing,
        )?;
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
        .map_err(|error| io::Error::other(reasons(&error)))?;
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

/// Makes the network of a cluster with one machine.
pub(super) fn bridge() -> ProbeResult {
    ProbeResult::of(cluster_network().map(drop))
}

/// Loads kube-proxy's kinds of rules.
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
            .map_err(|error| io::Error::other(reasons(&error)))
    };
    ProbeResult::of(NetNs::create().and_then(|namespace| namespace.run(load)))
}

fn cluster_network() -> Result<network::Network, Box<dyn Error>> {
    let endpoint = Endpoint {
        name: "node01".to_owned(),
        address: "192.0.2.11/24".parse()?,
        second: None,
        behind: Vec::new(),
    };
    Ok(network::Network::create(&["192.0.2.1/24".parse()?], &[endpoint])?)
}

/// A thread that left its namespaces is of no use to anyone else.
fn on_thread(act: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    thread::scope(|scope| {
        scope
            .spawn(act)
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread of the trial panicked")))
    })
}

/// An error with all that caused it, in one line.
fn reasons(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::{ProbeResult, bridge, iptables, namespaces, nftables, overlay};
    use crate::host::Tool;
    use crate::host::tool::find_all;

    #[test]
    fn this_host_passes_them_all_and_keeps_nothing() {
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
    fn a_failure_gives_its_reason() {
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
