//! `parbake bench up`: starts a cluster several times and reports times and cost.

use anyhow::Result;
use parbake_artifact::{Store, Tag};
use parbake_cluster::Description;

use crate::case::{Rival, cases};
use crate::host::HostFacts;
use crate::report::{CaseResult, UpReport, ratios};
use crate::{Context, Report, contenders, plot, render, to_json};

/// What to start, and how often.
#[derive(Debug)]
pub struct Options {
    /// The artifact's name in the store.
    pub artifact: Tag,
    /// Numbers of baked nodes to run; all of them if empty.
    pub nodes: Vec<usize>,
    /// How often to run every case.
    pub runs: u16,
    /// What to compare with.
    pub against: Vec<Rival>,
    /// Measure growing clusters, and several clusters at once.
    pub grow: bool,
}

/// Runs every case in turn, [`Options::runs`] times.
///
/// # Errors
/// The artifact is missing or has too few nodes, or a cluster did not start.
pub fn run(context: &Context, options: &Options) -> Result<UpReport> {
    let artifact = Store::open(&context.dir.join("store"))?.get(&options.artifact)?;
    let baked = Description::from_artifact(&artifact.config.cluster)?;
    // Fail now, not after an hour.
    for nodes in &options.nodes {
        baked.first_nodes(*nodes)?;
    }
    let cases = cases(
        baked.nodes().len(),
        &options.nodes,
        &options.against,
        options.grow,
    );
    let mut samples = vec![Vec::new(); cases.len()];
    for run in 1..=options.runs {
        for (case, samples) in cases.iter().zip(&mut samples) {
            tracing::info!("run {run} of {}: {case}", options.runs);
            samples.extend(contenders::run(context, &options.artifact, *case)?);
        }
    }
    let cases = cases.into_iter().zip(&samples);
    let cases: Vec<CaseResult> = cases
        .map(|(case, samples)| CaseResult::new(case, samples))
        .collect();
    Ok(UpReport {
        artifact: options.artifact.clone(),
        digest: artifact.digest.to_string(),
        kubernetes: baked.kubernetes().to_string(),
        runs: options.runs.into(),
        host: HostFacts::read(&context.dir),
        ratios: ratios(&cases),
        cases,
    })
}

impl Report for UpReport {
    fn text(&self) -> String {
        render::text(self)
    }

    fn files(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("report.md", render::markdown(self)),
            ("report.json", to_json(self)?),
            (render::PLOT, plot::svg(self)),
        ])
    }
}
