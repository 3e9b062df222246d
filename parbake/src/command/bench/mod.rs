//! `parbake bench`

mod case;
mod host;
mod layers;
mod measure;
mod plot;
mod provision;
mod pull;
mod report;
mod sides;
mod spread;
mod text;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use parbake_artifact::{Store, Tag};
use parbake_cluster::Description;

use super::node_count;
use crate::cli::Global;
use crate::output;
use case::{Against, cases};
use host::Facts;
use report::{Measured, Report, ratios};

const EXAMPLES: &str = "\
Examples:
  parbake bench up k8s-1.34                                     all baked nodes, ten times
  parbake bench up k8s-1.34 --nodes 1,3 --against init,floor    compared, in turn
  parbake bench up k8s-1.34-8 --grow --report figures           1 to 8 nodes, 1 to 4 clusters

init is kubeadm with its own settings on machines of the same layers; floor is etcd and the API
server alone on the same data.";

/// Measure how fast parbake is on this host
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start a cluster several times over, and say how long that took and what it cost
    Up(Args),
    Provision(provision::Args),
    Pull(pull::Args),
    Layers(layers::Args),
}

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifact's name in the store, such as k8s-1.34
    artifact: Tag,
    /// How many of the baked nodes to run, the first ones; several in turn [default: all]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = node_count())]
    nodes: Vec<usize>,
    /// How many times to start it
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// What to compare with, in turn
    #[arg(long, value_name = "SIDE", value_enum, value_delimiter = ',')]
    against: Vec<Against>,
    /// Measure 1, 2, 4 and 8 nodes as far as they were baked, and 1, 2 and 4 clusters at once
    #[arg(long, conflicts_with = "nodes")]
    grow: bool,
    /// Write report.md, report.json and plot.svg into a folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

impl Command {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Self::Up(args) => args.run(global),
            Self::Provision(args) => args.run(global),
            Self::Pull(args) => args.run(global),
            Self::Layers(args) => args.run(global),
        }
    }
}

impl Args {
    fn run(&self, global: &Global) -> anyhow::Result<()> {
        let report = self.measure(global)?;
        if let Some(folder) = &self.report {
            let files = [
                ("report.md", text::markdown(&report)),
                ("report.json", serde_json::to_string_pretty(&report)? + "\n"),
                (text::PICTURE, plot::svg(&report)),
            ];
            write(folder, &files)?;
        }
        output::print(global.output, &report, text::text)
    }

    fn measure(&self, global: &Global) -> anyhow::Result<Report> {
        let artifact = Store::open(&global.store())?.get(&self.artifact)?;
        let baked = Description::of_artifact(&artifact.config.cluster)?;
        // Before the first start, not after an hour.
        for nodes in &self.nodes {
            baked.with_nodes(*nodes)?;
        }
        let cases = cases(baked.nodes().len(), &self.nodes, &self.against, self.grow);
        let mut samples = vec![Vec::new(); cases.len()];
        for run in 1..=self.runs {
            for (case, samples) in cases.iter().zip(&mut samples) {
                tracing::info!("run {run} of {}: {case}", self.runs);
                samples.extend(sides::run(global, &self.artifact, *case)?);
            }
        }
        let cases = cases.into_iter().zip(&samples);
        let cases: Vec<Measured> = cases
            .map(|(case, samples)| Measured::new(case, samples))
            .collect();
        Ok(Report {
            artifact: self.artifact.clone(),
            digest: artifact.digest.to_string(),
            kubernetes: baked.kubernetes().to_string(),
            runs: self.runs.into(),
            host: Facts::look(&global.dir),
            ratios: ratios(&cases),
            cases,
        })
    }
}

/// Removes the directory of a benchmark, if there is one.
fn clear(work: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove `{}`", work.display()))
        }
        _ => Ok(()),
    }
}

fn write(folder: &Path, files: &[(&str, String)]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("could not make `{}`", folder.display()))?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("could not write `{}`", path.display()))?;
    }
    Ok(())
}
