//! All trials of a host, and what is remembered of them: they cost more than the rest of a start of machines, and what
//! worked since the host booted works again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use serde::{Deserialize, Serialize};

use super::tool::{self, Tool};
use super::trial::{self, ProbeResult};
use crate::fs::files;

/// The file in the state directory that remembers.
const MEMORY: &str = "host.json";

/// What was tried, and the programs that were found for it.
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

/// Trials that are remembered, and for which circumstances.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    circumstances: Vec<String>,
    trials: Trials,
}

impl Trials {
    /// Tries everything; `dir` is the directory that overlays are to be on.
    pub(super) fn run(root: bool, dir: &Path) -> Self {
        let attempt = |trial: &dyn Fn() -> ProbeResult| if root { trial() } else { ProbeResult::not_root() };
        let tools = tool::find_all();
        // Side by side, since the kernel makes and unmakes namespaces at leisure.
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

    /// What `state_dir` remembers for circumstances like these.
    pub(super) fn recall(state_dir: &Path) -> Option<Self> {
        let memory = Memory::read(state_dir)?;
        let still_there = memory.trials.tools.values().all(|tool| tool.path.exists());
        (memory.circumstances == circumstances() && still_there).then_some(memory.trials)
    }

    /// Remembers them in `state_dir` if all of it worked. Where that may not be written the next one tries again.
    pub(super) fn remember(self, state_dir: &Path) {
        if !self.all_work() || Self::recall(state_dir).as_ref() == Some(&self) {
            return;
        }
        let memory = Memory {
            circumstances: circumstances(),
            trials: self,
        };
        if let Ok(text) = serde_json::to_vec_pretty(&memory) {
            let _ = files::replace(&state_dir.join(MEMORY), &text, 0o644);
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

impl Memory {
    fn read(state_dir: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(state_dir.join(MEMORY)).ok()?).ok()
    }
}

/// What the outcome of trials depends on: this boot of the kernel, this process's namespaces, rights and search path, and
/// this version of the trials.
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

    use super::{MEMORY, Memory, Trials};

    #[test]
    fn what_worked_is_remembered_for_the_same_circumstances_only() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Trials::recall(dir.path()), None);
        let trials = Trials::run(true, dir.path());
        trials.clone().remember(dir.path());
        assert_eq!(Trials::recall(dir.path()), Some(trials));
        let mut memory = Memory::read(dir.path()).unwrap();
        memory.circumstances[1] = "another boot".to_owned();
        fs::write(dir.path().join(MEMORY), serde_json::to_string(&memory).unwrap()).unwrap();
        assert_eq!(Trials::recall(dir.path()), None);
    }
}
