//! What parbake may leave on a host: mounts, interfaces, firewall tables, cgroups, files and processes of its own.
//!
//! Everything else on the host is ignored, so the tests pass on a machine that somebody is working on. parbake's own
//! things are recognised by the tests' state directory, by the cgroup names derived from it, and by the name `parbake`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use parbake_artifact::Digest;

use crate::place::{Outcome, check};

/// The start of the addresses of nodes of the provider that the tests bake.
const NODE_NETWORK: &str = "10.89.0.";

/// A list of things that belong to parbake, one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// Lists what belongs to parbake and the state directory `state`, including the state directories below it.
    pub fn list(state: &Path) -> Result<Self, String> {
        let state_text = state.to_str().ok_or("the state directory is not UTF-8")?;
        let ids = cgroup_suffixes(state);
        let belongs = |line: &str| line.contains(state_text) || ids.iter().any(|id| line.contains(id));
        let named = |line: &str| line.contains("parbake") || line.contains(NODE_NETWORK);
        let mut lines = BTreeSet::new();
        let mut add = |kind: &str, text: &str, is_ours: &dyn Fn(&str) -> bool| {
            let ours = text.lines().filter(|line| is_ours(line));
            lines.extend(ours.map(|line| format!("{kind}: {line}")));
        };
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
        add("mount", &mounts, &belongs);
        add(
            "interface",
            &output("ip", &["-oneline", "-brief", "address"])?,
            &named,
        );
        add(
            "route",
            &output("ip", &["route", "show", "table", "all"])?,
            &named,
        );
        add("firewall table", &output("nft", &["list", "tables"])?, &named);
        let cgroups = output("find", &["/sys/fs/cgroup", "-type", "d", "-path", "*parbake*"])?;
        add("cgroup", &cgroups, &belongs);
        add("file", &files(state_text)?, &|_| true);
        add(
            "file",
            &output("find", &["/run", "-path", "*parbake*"])?,
            &belongs,
        );
        add("process", &processes(&belongs).join("\n"), &|_| true);
        Ok(Self(lines))
    }

    /// Removes the lines that start with `prefix`.
    pub fn except(self, prefix: &str) -> Self {
        Self(
            self.0
                .into_iter()
                .filter(|line| !line.starts_with(prefix))
                .collect(),
        )
    }

    /// Fails and names what is here now and was not in `before`.
    pub fn nothing_new_since(&self, before: &Self) -> Outcome {
        let new: Vec<&str> = self.0.difference(&before.0).map(String::as_str).collect();
        check(new.is_empty(), || format!("left behind:\n  {}", new.join("\n  ")))
    }

    /// True if a line of `kind` is here now and was not in `before`.
    pub fn has_new(&self, before: &Self, kind: &str) -> bool {
        self.0.difference(&before.0).any(|line| line.starts_with(kind))
    }
}

/// The ends of the cgroup names of all clusters of a state directory: `-` and the first 8 hex digits of its digest.
fn cgroup_suffixes(state: &Path) -> Vec<String> {
    let others = fs::read_dir(state.join("others")).into_iter().flatten().flatten();
    let dirs = others.map(|entry| entry.path()).chain([state.to_owned()]);
    let suffix = |dir: PathBuf| format!("-{}", &Digest::of(dir.as_os_str().as_encoded_bytes()).hex()[..8]);
    dirs.map(suffix).collect()
}

/// The files of the state directory, except the store, the cached host checks and the log of events.
fn files(state: &str) -> Result<String, String> {
    let (store, host, events) = (
        format!("{state}/store"),
        format!("{state}/host.json"),
        format!("{state}/events*.jsonl"),
    );
    let words = [
        state, "-path", &store, "-prune", "-o", "-path", &host, "-o", "-path", &events, "-o", "-print",
    ];
    output("find", &words)
}

fn output(program: &str, words: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(words)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    check(output.status.success(), || {
        format!("{program}: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command lines of processes that were started for the state directory or are in a cgroup of one of its clusters.
fn processes(belongs: &dyn Fn(&str) -> bool) -> Vec<String> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| {
        let read = |name: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let command = read("cmdline");
        let is_ours = belongs(&command) || belongs(&read("cgroup")) || belongs(&read("environ"));
        is_ours.then_some(command)
    });
    ours.collect()
}
