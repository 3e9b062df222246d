//! A listing of everything that a cluster could leave on a host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Outcome, check};

/// What marks such processes in their environment.
const BESIDE: &[u8] = b"PARBAKE_TESTS_BESIDE=1";

/// Mounts, namespaces, interfaces, cgroups, firewall rules, files and processes, a line each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listing(BTreeSet<String>);

impl Listing {
    /// Lists the host, and of files those in `/run` and below the state directory but for its store.
    pub(crate) fn take(state: &Path) -> Result<Self, String> {
        let mut lines = BTreeSet::new();
        let mut add =
            |kind: &str, text: &str| lines.extend(text.lines().map(|line| format!("{kind}: {line}")));
        add("mount", &mount_points()?);
        add("interface", &output("ip", &["-oneline", "-brief", "link"])?);
        add("route", &output("ip", &["route", "show", "table", "all"])?);
        add("rule", &output("nft", &["list", "ruleset"])?);
        add(
            "cgroup",
            &output("find", &["/sys/fs/cgroup", "-type", "d", "-path", "*parbake*"])?,
        );
        let store = format!("{}/store", state.display());
        // What is remembered of the host is no cluster's, nor is what happened.
        let host = format!("{}/host.json", state.display());
        let events = format!("{}/events*.jsonl", state.display());
        let state = state.to_str().ok_or("the state directory's name is no text")?;
        add(
            "file",
            &output(
                "find",
                &[
                    state, "/run", "-path", &store, "-prune", "-o", "-path", &host, "-o", "-path", &events,
                    "-o", "-print",
                ],
            )?,
        );
        for (name, kind) in [
            ("net", "network namespace"),
            ("mnt", "mount namespace"),
            ("pid", "process namespace"),
        ] {
            add(kind, &namespaces(name).join("\n"));
        }
        add("process", &processes());
        Ok(Self(lines))
    }

    /// The same without the lines that begin with `text`.
    pub(crate) fn without(self, text: &str) -> Self {
        Self(
            self.0
                .into_iter()
                .filter(|line| !line.starts_with(text))
                .collect(),
        )
    }

    /// An error that names what is there now and was not in `before`.
    pub(crate) fn nothing_new(&self, before: &Self) -> Outcome {
        let new: Vec<&str> = self.0.difference(&before.0).map(String::as_str).collect();
        check(new.is_empty(), || format!("left behind:\n  {}", new.join("\n  ")))
    }

    /// Whether a line of `kind` is there now and was not in `before`.
    pub(crate) fn has_new(&self, before: &Self, kind: &str) -> bool {
        self.0.difference(&before.0).any(|line| line.starts_with(kind))
    }
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

fn mount_points() -> Result<String, String> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let point = |line: &str| line.split(' ').nth(4).unwrap_or_default().to_owned();
    Ok(text.lines().map(point).collect::<Vec<_>>().join("\n"))
}

/// The namespaces that some process is in.
fn namespaces(kind: &str) -> Vec<String> {
    let links = pids()
        .into_iter()
        .filter_map(|pid| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok());
    let names: BTreeSet<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    names.into_iter().collect()
}

/// Supervisors, machines, and their ways to the outside.
fn processes() -> String {
    let lines = pids().into_iter().filter_map(|pid| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .ok()?
            .replace('\0', " ");
        ["parbake supervise", "systemd-nspawn", "slirp4netns"]
            .iter()
            .any(|part| words.contains(part))
            .then_some(words)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// All processes but for those of tests that `dev` runs beside these.
fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| !is_beside(*pid))
        .collect()
}

fn is_beside(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|word| word == BESIDE))
}
