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

use super::supervise;
use crate::args::{GlobalArgs, NewClusterArgs, timeout};
use crate::output::{self, count};

const EXAMPLES: &str = "\
Examples:
  parbake up k8s-1.34                        cluster `default` with all baked nodes
  parbake up k8s-1.34 --nodes 1 --name ci    another cluster, with the control plane alone
  parbake up registry.example.org/k8s-1.34   pull on first use, then work offline
  parbake up k8s-1.34 --config cluster.toml  with limits, mounts, ports, manifests
  parbake up                                 the artifact pinned with `parbake pin`
  parbake kubectl get pods -A                use it
  parbake down                               remove it

A failed start leaves nothing behind.";

/// Start a cluster from an artifact, and wait until it is ready
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    new: NewClusterArgs,
    /// Give up after this time, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = timeout)]
    wait: Duration,
    /// Show where the time went: as text, or in FILE (.svg or .json)
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    timings: Option<Option<TimingsFile>>,
}

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

#[derive(Debug, Clone, PartialEq, Eq)]
enum TimingsFile {
    Svg(PathBuf),
    Json(PathBuf),
}

impl FromStr for TimingsFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        match path.extension().and_then(OsStr::to_str) {
            Some("svg") => Ok(Self::Svg(path)),
            Some("json") => Ok(Self::Json(path)),
            _ => Err(format!("`{text}` ends neither in .svg nor in .json")),
        }
    }
}

impl TimingsFile {
    fn write(&self, timeline: &Timeline) -> anyhow::Result<()> {
        let (path, text) = match self {
            Self::Svg(path) => (path, timeline.svg()),
            Self::Json(path) => (path, serde_json::to_string_pretty(timeline)? + "\n"),
        };
        fs::write(path, text)
            .with_context(|| format!("the cluster is up, but could not write `{}`", path.display()))
    }
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let (name, internet) = (self.new.cluster.name.clone(), self.new.internet);
        let (tag, config) = self.new.resolve(global)?;
        let thawed = super::block_on(thaw(&ThawOptions {
            tag,
            name: name.clone(),
            config,
            internet,
            wait: self.wait,
            dir: global.dir.clone(),
            supervise: supervise::command()?,
            timings: self.timings.is_some(),
            probe: false,
        }))??;
        if let (Some(Some(file)), Some(timeline)) = (&self.timings, &thawed.timeline) {
            file.write(timeline)?;
        }
        output::report(global.output, &report(name, thawed), |report| {
            text(report, self.timings == Some(None))
        })
    }
}

fn report(name: ClusterName, thawed: ThawReport) -> Report {
    Report {
        name,
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
    let option = match *name == ClusterName::default() {
        true => String::new(),
        false => format!(" --name {name}"),
    };
    let timings = report.timeline.as_ref().filter(|_| timings);
    let timings = timings
        .map(|timeline| format!("{timeline}\n"))
        .unwrap_or_default();
    format!(
        "{timings}cluster `{name}` is ready after {seconds:.1} s: {nodes}, API at https://{api}\n\
         next: `parbake kubectl{option} get pods -A`, `export KUBECONFIG=$(parbake kubeconfig{option} --path)`\n"
    )
}
