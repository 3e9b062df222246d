//! `parbake up`

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use parbake_artifact::Tag;
use parbake_cluster::readiness::Milestones;
use parbake_up::timeline::Timeline;
use parbake_up::{ClusterName, ThawOptions, ThawReport, thaw};
use serde::Serialize;

use super::configuration::ConfigArgs;
use super::named::{Named, meant};
use super::registry::{DeltaArgs, RegistryArgs};
use super::supervise;
use crate::cli::Global;
use crate::output::{self, count};

const EXAMPLES: &str = "\
Examples:
  parbake up k8s-1.34                        the cluster `default`, with all baked nodes
  parbake up k8s-1.34 --nodes 1 --name ci    another one beside it, the control plane alone
  parbake up registry.example.org/k8s-1.34   from a registry, the first time; offline from then on
  parbake up k8s-1.34 --config cluster.toml  with limits, mounts, ports, manifests
  parbake up                                 what `parbake pin` pinned for this project
  parbake kubectl get pods -A                look around
  parbake down                               remove `default` without a trace

A start that fails leaves nothing behind.";

/// Start a cluster from an artifact, offline; it is ready when the command ends
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifact's name in the store, such as k8s-1.34, or REGISTRY/REPOSITORY[:TAG][@DIGEST], which
    /// is pulled if the store does not have it [default: what the project's parbake.toml pins]
    artifact: Option<Named>,
    /// Give the cluster a way to the outside, at every start; it has none otherwise
    #[arg(long)]
    internet: bool,
    /// How long a start may take, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
    wait: Duration,
    /// Say where the time went: as text, or into FILE (.svg for a picture, .json)
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    timings: Option<Option<TimingsFile>>,
    #[command(flatten)]
    deltas: DeltaArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    artifact: Tag,
    digest: String,
    nodes: usize,
    api: SocketAddr,
    milestones: Milestones,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Timeline>,
}

/// Where a timeline goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TimingsFile {
    Picture(PathBuf),
    Json(PathBuf),
}

impl FromStr for TimingsFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        match path.extension().and_then(OsStr::to_str) {
            Some("svg") => Ok(Self::Picture(path)),
            Some("json") => Ok(Self::Json(path)),
            _ => Err(format!("`{text}` ends neither in .svg nor in .json")),
        }
    }
}

impl TimingsFile {
    fn write(&self, timeline: &Timeline) -> anyhow::Result<()> {
        let (path, text) = match self {
            Self::Picture(path) => (path, timeline.svg()),
            Self::Json(path) => (path, serde_json::to_string_pretty(timeline)? + "\n"),
        };
        // The cluster is up all the same.
        fs::write(path, text)
            .with_context(|| format!("the cluster is up, but could not write `{}`", path.display()))
    }
}

/// Whole seconds or minutes.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as 90s or 2m");
    let (number, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let wanted = self.configuration.wanted()?;
        let tag = meant(global, self.artifact, &self.deltas, self.registry)?;
        let thawed = super::block_on(thaw(&ThawOptions {
            tag,
            name: global.name.clone(),
            config: wanted,
            internet: self.internet,
            wait: self.wait,
            dir: global.dir.clone(),
            supervise: supervise::command()?,
            timings: self.timings.is_some(),
            probe: false,
        }))??;
        if let (Some(Some(file)), Some(timeline)) = (&self.timings, &thawed.timeline) {
            file.write(timeline)?;
        }
        output::print(global.output, &report(global, thawed), |report| {
            text(report, self.timings == Some(None))
        })
    }
}

fn report(global: &Global, thawed: ThawReport) -> Report {
    Report {
        name: global.name.clone(),
        artifact: thawed.record.tag,
        digest: thawed.record.artifact.to_string(),
        nodes: thawed.record.cluster.nodes().len(),
        api: thawed.api,
        milestones: thawed.milestones,
        timeline: thawed.timeline,
    }
}

fn text(report: &Report, timings: bool) -> String {
    let seconds = report.milestones.ready.as_secs_f64();
    let (name, nodes, api) = (&report.name, count(report.nodes, "node"), report.api);
    let parbake = if *name == ClusterName::default() {
        "parbake".to_owned()
    } else {
        format!("parbake --name {name}")
    };
    let timings = report.timeline.as_ref().filter(|_| timings);
    let timings = timings
        .map(|timeline| format!("{timeline}\n"))
        .unwrap_or_default();
    format!(
        "{timings}cluster `{name}` is ready after {seconds:.1} s: {nodes}, API at https://{api}\n\
         next: `{parbake} kubectl get pods -A`, `export KUBECONFIG=$({parbake} kubeconfig --path)`\n"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn times_are_seconds_or_minutes() {
        let cases = [("90s", 90), ("90", 90), ("2m", 120)];
        for (text, seconds) in cases {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1s", "1h", "1.5s", "400000000000000000000m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
