//! `parbake swap`

use std::time::Duration;

use parbake_cluster::NodeName;
use parbake_machine::executable::GivenBinary;
use parbake_up::ClusterName;
use parbake_up::swap::{Outcome, SwapOptions, Swapped, swap};
use serde::Serialize;

use crate::cli::Global;
use crate::output::{self, table};

const EXAMPLES: &str = "\
Examples:
  parbake swap kubelet=_output/bin/kubelet
  parbake swap kubelet=_output/bin/kubelet --node node02
  parbake swap kube-apiserver=_output/bin/kube-apiserver coredns=coredns/coredns --name ci

A node's own programs (kubelet, containerd, crictl, ...) are replaced on each node, and restarted.
Programs in images (kube-apiserver, etcd, kube-proxy, coredns, ...) get a new image, made from the
one that is there, and their pods run it. Files are checked before anything is changed; what does
not work in time is put back. `stop` and `start` keep what was swapped, `freeze` freezes it, and
nodes that join later have what was baked.";

/// Replace programs of a running cluster by what you have built
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A program and the file that takes its place, such as kubelet=build/kubelet
    #[arg(required = true, value_name = "NAME=FILE")]
    programs: Vec<GivenBinary>,
    /// On this node alone; may be given more than once
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<NodeName>,
    /// How long it may take until all of it is at work, such as 90s or 2m
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = super::up::duration)]
    wait: Duration,
}

/// What is printed of a swap.
#[derive(Debug, Serialize)]
struct Report {
    name: ClusterName,
    swapped: Vec<Swapped>,
    unchanged: Vec<String>,
    seconds: f64,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let Outcome {
            swapped,
            unchanged,
            after,
        } = super::block_on(swap(&SwapOptions {
            name: global.name.clone(),
            programs: self.programs,
            nodes: self.nodes,
            wait: self.wait,
            dir: global.dir.clone(),
        }))??;
        let report = Report {
            name: global.name.clone(),
            swapped,
            unchanged,
            seconds: after.as_secs_f64(),
        };
        output::print(global.output, &report, text)
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
    let rows = report.swapped.iter().map(|one| {
        let nodes: Vec<&str> = one.nodes.iter().map(NodeName::as_str).collect();
        [
            one.program.clone(),
            one.version.clone().unwrap_or_default(),
            nodes.join(","),
            one.image.clone().unwrap_or_default(),
        ]
    });
    text.push_str(&table(["PROGRAM", "VERSION", "NODES", "IMAGE"], rows));
    text.push_str(&format!("at work after {:.1} s\n", report.seconds));
    text
}
