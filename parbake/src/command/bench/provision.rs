//! `parbake bench provision`

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use parbake_artifact::{Artifact, Store, Tag};
use parbake_cluster::runtime_config;
use parbake_provision::bake::{self, Options, Outcome};
use parbake_provision::inputs::{self, Given, GivenBinary, Source};
use parbake_provision::provider::{Addon, Provider, Size};
use serde::Serialize;

use super::clear;
use super::host::Facts;
use super::measure::Unit;
use super::spread::Spread;
use super::text::line;
use crate::cli::Global;
use crate::command::{node_count, supervise};
use crate::output::{self, count, table};

/// What the state directory of the benchmark is called.
const WORK: &str = "bench-provision";
/// What the artifact in it is called.
const TAG: &str = "bench";
/// The component that changes.
const COMPONENT: &str = "kubelet";
/// What is measured, in the order in which each run does it.
const CASES: [&str; 4] = [
    "into an empty store",
    "again, nothing changed",
    "a manifest added",
    "a kubelet changed",
];

const EXAMPLES: &str = "\
Example:
  parbake bench provision k8s-1.34 --runs 5 --report figures

The inputs are made or fetched first, and not measured. Each run bakes into an empty store, bakes
again, adds a manifest (a deployment whose pod is waited for), and changes the kubelet's file.";

/// Bake several times over: from nothing, unchanged, with one manifest more, with one component changed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The provider, such as k8s-1.34
    provider: String,
    /// Where binaries and images come from: auto, release, modules or a folder
    #[arg(long, default_value = "auto", value_parser = crate::command::provision::source)]
    source: Source,
    /// How many nodes to bake [default: all it lists]
    #[arg(long, value_name = "N", value_parser = node_count())]
    nodes: Option<usize>,
    /// How many times to do it
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Write provision.md and provision.json into a folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    provider: String,
    kubernetes: String,
    nodes: usize,
    runs: u16,
    host: Facts,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    bake: &'static str,
    unit: Unit,
    #[serde(flatten)]
    spread: Spread,
}

/// Where a run bakes.
struct Site<'a> {
    args: &'a Args,
    global: &'a Global,
    provider: Provider,
    dir: PathBuf,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let site = Site {
            args: &self,
            global,
            provider: Provider::find(&self.provider, &global.providers)?,
            dir: global.dir.join(WORK),
        };
        let measured = site.measure();
        // What failed says why.
        let cleared = clear(&site.dir);
        let report = measured?;
        cleared?;
        if let Some(folder) = &self.report {
            let json = serde_json::to_string_pretty(&report)? + "\n";
            super::write(
                folder,
                &[("provision.md", markdown(&report)), ("provision.json", json)],
            )?;
        }
        output::print(global.output, &report, text)
    }
}

impl Site<'_> {
    fn measure(&self) -> anyhow::Result<Report> {
        let mut nodes = 0;
        let mut samples: [Vec<f64>; CASES.len()] = Default::default();
        let Site { args, provider, .. } = self;
        inputs::prepare(provider, &args.source, &Given::default(), &self.global.cache())?;
        for run in 1..=args.runs {
            tracing::info!("run {run} of {}", args.runs);
            clear(&self.dir)?;
            let (empty, artifact) = self.timed(&[], None)?;
            nodes = artifact.config.machines.len();
            let (again, same) = self.timed(&[], None)?;
            anyhow::ensure!(
                same.digest == artifact.digest,
                "nothing changed, and it was baked again"
            );
            let manifest = self.manifest(&artifact)?;
            let (added, _) = self.timed(std::slice::from_ref(&manifest), None)?;
            let kubelet = self.component(&artifact, run)?;
            let (changed, _) = self.timed(&[], Some(kubelet))?;
            for (seconds, samples) in [empty, again, added, changed].into_iter().zip(&mut samples) {
                samples.push(seconds);
            }
        }
        let rows = CASES.into_iter().zip(&samples).map(|(bake, samples)| Row {
            bake,
            unit: Unit::Seconds,
            spread: Spread::of(samples),
        });
        Ok(Report {
            kubernetes: provider.recipe.kubernetes.to_string(),
            provider: args.provider.clone(),
            nodes,
            runs: args.runs,
            host: Facts::look(&self.global.dir),
            rows: rows.collect(),
        })
    }

    /// Seconds, and the artifact.
    fn timed(&self, manifests: &[PathBuf], kubelet: Option<PathBuf>) -> anyhow::Result<(f64, Artifact)> {
        let started = Instant::now();
        let artifact = self.bake(manifests, kubelet)?;
        Ok((started.elapsed().as_secs_f64(), artifact))
    }

    fn bake(&self, manifests: &[PathBuf], kubelet: Option<PathBuf>) -> anyhow::Result<Artifact> {
        let mut provider = self.provider.clone();
        for path in manifests {
            provider.add(Addon::load(path, &BTreeMap::new())?)?;
        }
        let binaries = kubelet.map(|path| GivenBinary {
            name: COMPONENT.to_owned(),
            path,
        });
        let options = Options {
            provider,
            source: self.args.source.clone(),
            given: Given {
                binaries: binaries.into_iter().collect(),
                ..Given::default()
            },
            size: Size {
                nodes: self.args.nodes,
                control_planes: None,
            },
            keep: false,
            tag: TAG.parse::<Tag>()?,
            dir: self.dir.clone(),
            cache: self.global.cache(),
            supervise: supervise::command()?,
        };
        match bake::provision(&options)? {
            Outcome::Baked(artifact) | Outcome::Unchanged(artifact) => Ok(artifact),
        }
    }

    fn unpacked(&self, artifact: &Artifact, title: &str) -> anyhow::Result<PathBuf> {
        let layer = artifact.layers.iter().find(|layer| layer.title == title);
        let layer = layer.with_context(|| format!("the artifact has no layer `{title}`"))?;
        Ok(Store::open(&self.dir.join("store"))?.unpacked(layer)?)
    }

    /// A deployment of the one image that every artifact has.
    fn manifest(&self, artifact: &Artifact) -> anyhow::Result<PathBuf> {
        let image = runtime_config::sandbox_image(&[self.unpacked(artifact, "node")?])?;
        let labels = serde_json::json!({"app": TAG});
        let deployment = serde_json::json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": TAG, "namespace": "default"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": TAG, "image": image}]}
                }
            }
        });
        let path = self.dir.join("added.yaml");
        write(&path, deployment.to_string().as_bytes())?;
        Ok(path)
    }

    /// The same program in another file: bytes behind its end are nobody's.
    fn component(&self, artifact: &Artifact, run: u16) -> anyhow::Result<PathBuf> {
        let baked = self
            .unpacked(artifact, COMPONENT)?
            .join("usr/bin")
            .join(COMPONENT);
        let mut bytes = fs::read(&baked).with_context(|| format!("could not read `{}`", baked.display()))?;
        bytes.extend(run.to_be_bytes());
        let path = self.dir.join(COMPONENT);
        write(&path, &bytes)?;
        Ok(path)
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("could not write `{}`", path.display()))
}

fn head(report: &Report) -> String {
    format!(
        "Kubernetes {}, {}; {} runs\n{}\n",
        report.kubernetes,
        count(report.nodes, "node"),
        report.runs,
        report.host.line()
    )
}

fn rows(report: &Report) -> impl Iterator<Item = [String; 4]> {
    report
        .rows
        .iter()
        .map(|row| row.spread.row(row.bake, |value| row.unit.show(value)))
}

fn text(report: &Report) -> String {
    format!(
        "{}\n{}",
        head(report),
        table(["BAKE", "MIN", "MEDIAN", "MAX"], rows(report))
    )
}

fn markdown(report: &Report) -> String {
    let mut text = format!(
        "# How long `{}` bakes, with its inputs at hand\n\n{}\n",
        report.provider,
        head(report)
    );
    text += "| bake | min | median | max |\n|---|---|---|---|\n";
    text.extend(rows(report).map(|row| line(&row)));
    text
}
