//! Running the trials of a host, and caching their outcome: they take longer than the rest of a start, and what has worked
//! once works until the host reboots.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use serde::{Deserialize, Serialize};

use super::tool::{self, Tool};
use super::trial::{self, ProbeResult};
use crate::fs::files;

/// The cache file in the state directory.
const FILE: &str = "host.json";

/// The outcomes of the trials, and the programs that were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trials {
    pub(super) namespaces: ProbeResult,
    pub(super) overlay: ProbeResult,
    pub(super) bridge: ProbeResult,
    pub(super) iptables: ProbeResult,
    pub(super) nftables: ProbeResult,
    pub(super) tools: BTreeMap<String, Tool>,
}

/// Cached trials and the circumstances in which they are valid.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    circumstances: Vec<String>,
    trials: Trials,
}

impl Trials {
    /// Runs all trials. `dir` is where overlays are tried.
    pub(super) fn run(root: bool, dir: &Path) -> Self {
        let attempt = |trial: &dyn Fn() -> ProbeResult| if root { trial() } else { ProbeResult::not_root() };
        let tools = tool::find_all();
        // In parallel, since the kernel takes its time to create and remove namespaces.
        let (overlay, bridge, iptables, nftables) = thread::scope(|scope| {
            let overlay = scope.spawn(|| attempt(&|| trial::overlay(dir)));
            let bridge = scope.spawn(|| attempt(&trial::bridge));
            let iptables = scope.spawn(|| attempt(&|| trial::iptables(tools.get("iptables-restore"))));
            let nftables = scope.spawn(|| attempt(&|| trial::nftables(tools.get("nft"))));
            let outcome = |trial: thread::ScopedJoinHandle<'_, ProbeResult>| {
                let outcome = trial.join();
                outcome.unwrap_or_else(|_| ProbeResult::Failed("the trial panicked".to_owned()))
            };
            (
                outcome(overlay),
                outcome(bridge),
                outcome(iptables),
                outcome(nftables),
            )
        });
        Self {
            namespaces: attempt(&trial::namespaces),
            overlay,
            bridge,
            iptables,
            nftables,
            tools,
        }
    }

    /// The cached trials, if they are valid in the current circumstances.
    pub(super) fn recall(state_dir: &Path) -> Option<Self> {
        let cache = Cache::read(state_dir)?;
        let still_there = cache.trials.tools.values().all(|tool| tool.path.exists());
        (cache.circumstances == circumstances() && still_there).then_some(cache.trials)
    }

    /// Caches the trials if all of them worked. Does nothing if the directory is not writable.
    pub(super) fn remember(self, state_dir: &Path) {
        if !self.all_work() || Self::recall(state_dir).as_ref() == Some(&self) {
            return;
        }
        let cache = Cache {
            circumstances: circumstances(),
            trials: self,
        };
        if let Ok(text) = serde_json::to_vec_pretty(&cache) {
            let _ = files::replace(&state_dir.join(FILE), &text, 0o644);
        }
    }

    fn all_work(&self) -> bool {
        [
            &self.namespaces,
            &self.overlay,
            &self.bridge,
            &self.iptables,
            &self.nftables,
        ]
        .into_iter()
        .all(|trial| *trial == ProbeResult::Works)
    }
}

impl Cache {
    fn read(state_dir: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(state_dir.join(FILE)).ok()?).ok()
    }
}

/// What the outcome depends on: the version of parbake, the boot of the kernel, and the namespaces, capabilities and search
/// path of this process.
fn circumstances() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let namespace = |kind: &str| {
        let link: PathBuf = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
        link.to_string_lossy().into_owned()
    };
    let capabilities = rustix::thread::capabilities(None).map(|sets| sets.effective.bits());
    vec![
        env!("CARGO_PKG_VERSION").to_owned(),
        read("/proc/sys/kernel/random/boot_id"),
        namespace("mnt"),
        namespace("net"),
        namespace("user"),
        format!("{:x}", capabilities.unwrap_or_default()),
        std::env::var("PATH").unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Cache, FILE, Trials};

    #[test]
    fn trials_are_cached_for_the_same_circumstances_only() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Trials::recall(dir.path()), None);
        let trials = Trials::run(true, dir.path());
        trials.clone().remember(dir.path());
        assert_eq!(Trials::recall(dir.path()), Some(trials));
        let mut cache = Cache::read(dir.path()).unwrap();
        cache.circumstances[1] = "another boot".to_owned();
        fs::write(dir.path().join(FILE), serde_json::to_string(&cache).unwrap()).unwrap();
        assert_eq!(Trials::recall(dir.path()), None);
    }
}
