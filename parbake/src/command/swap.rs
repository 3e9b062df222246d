//! `parbake swap`

use std::time::Duration;

use parbake_cluster::NodeName;
use parbake_machine::executable::BinaryOverride;
use parbake_up::ClusterName;
use parbake_up::swap::{Outcome, SwapOptions, Swapped, swap};
use serde::Serialize;

use crate::args::{ClusterArgs, GlobalArgs, timeout};
use crate::output::{self, table};

const EXAMPLES: &str = "\
Examples:
  parbake swap kubelet=_output/bin/kubelet
  parbake swap kubelet=_output/bin/kubelet --node node02
  parbake swap kube-apiserver=_output/bin/kube-apiserver coredns=coredns/coredns --name ci

Programs on nodes (kubelet, containerd, crictl, ...) are replaced and restarted. For programs in
images (kube-apiserver, etcd, kube-proxy, coredns, ...) a new image is built from the existing one,
and their pods use it. Files are checked before anything changes, and a swap that is not ready in
time is rolled back. Swapped programs are kept by `stop`, `start` and `freeze`; nodes that join
later have the baked programs.";

/// Replace programs of a running cluster with your own builds
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A program and its replacement, such as kubelet=build/kubelet
    #[arg(required = true, value_name = "NAME=FILE")]
    programs: Vec<BinaryOverride>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Swap only on this node; repeatable
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<NodeName>,
    /// Roll back after this time, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = timeout)]
    wait: Duration,
}

#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    swapped: Vec<Swapped>,
    unchanged: Vec<String>,
    seconds: f64,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let name = self.cluster.name;
        let Outcome {
            swapped,
            unchanged,
            after,
        } = super::block_on(swap(&SwapOptions {
            name: name.clone(),
            programs: self.programs,
            nodes: self.nodes,
            wait: self.wait,
            dir: global.dir.clone(),
        }))??;
        let report = Report {
            name,
            swapped,
            unchanged,
            seconds: after.as_secs_f64(),
        };
        output::report(global.output, &report, text)
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for name in &report.unchanged {
        text.push_str(&format!("{name} is up to date\n"));
    }
    if report.swapped.is_empty() {
        return text;
    }
    let rows = report.swapped.iter().map(|swapped| {
        let nodes: Vec<&str> = swapped.nodes.iter().map(NodeName::as_str).collect();
        [
            swapped.program.clone(),
            swapped.version.clone().unwrap_or_default(),
            nodes.join(","),
            swapped.image.clone().unwrap_or_default(),
        ]
    });
    text.push_str(&table(["PROGRAM", "VERSION", "NODES", "IMAGE"], rows));
    text.push_str(&format!("ready after {:.1} s\n", report.seconds));
    text
}
