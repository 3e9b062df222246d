//! `parbake bench provision`: bakes several times, and reports how long each kind of bake takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use parbake_artifact::{Artifact, Store, Tag};
use parbake_cluster::model::runtime_config;
use parbake_provision::bake::{self, Outcome};
use parbake_provision::inputs::{self, BinaryOverride, Overrides, Source};
use parbake_provision::provider::{Addon, ClusterSize, Provider};
use serde::Serialize;

use crate::format::{count, markdown_row, table};
use crate::host::HostFacts;
use crate::metric::Unit;
use crate::statistics::Summary;
use crate::{Context, Report, clear, timed, to_json};

/// The name of the benchmark's state directory.
const WORK: &str = "bench-provision";
/// The artifact's name in that directory.
const TAG: &str = "bench";
/// The component that changes.
const COMPONENT: &str = "kubelet";
/// The bakes of a run, in order.
const BAKES: [&str; 4] = [
    "into an empty store",
    "again, nothing changed",
    "a manifest added",
    "a kubelet changed",
];

/// What to bake, and how often.
#[derive(Debug)]
pub struct Options {
    pub provider: Provider,
    /// Where binaries and images come from.
    pub source: Source,
    /// Nodes to bake; those that the provider lists if not given.
    pub nodes: Option<usize>,
    pub runs: u16,
    /// The directory of downloads and builds.
    pub cache: PathBuf,
}

/// How long each kind of bake took.
#[derive(Debug, Serialize)]
pub struct ProvisionReport {
    provider: String,
    kubernetes: String,
    nodes: usize,
    runs: u16,
    host: HostFacts,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    bake: &'static str,
    unit: Unit,
    #[serde(flatten)]
    summary: Summary,
}

/// The benchmark while it runs.
struct Bench<'a> {
    context: &'a Context,
    options: &'a Options,
    dir: PathBuf,
}

/// Prepares the inputs, which is not measured, then bakes [`Options::runs`] times.
///
/// # Errors
/// The first bake that failed; the benchmark's directory is removed then, too.
pub fn run(context: &Context, options: &Options) -> Result<ProvisionReport> {
    let bench = Bench {
        context,
        options,
        dir: context.dir.join(WORK),
    };
    let report = bench.measure();
    let cleared = clear(&bench.dir);
    let report = report?;
    cleared?;
    Ok(report)
}

impl Bench<'_> {
    fn measure(&self) -> Result<ProvisionReport> {
        let mut nodes = 0;
        let mut samples: [Vec<f64>; BAKES.len()] = Default::default();
        let Options {
            provider,
            source,
            runs,
            cache,
            ..
        } = self.options;
        inputs::prepare(provider, source, &Overrides::default(), cache)?;
        for run in 1..=*runs {
            tracing::info!("run {run} of {runs}");
            clear(&self.dir)?;
            let (empty, artifact) = self.bake(&[], None)?;
            nodes = artifact.config.machines.len();
            let (unchanged, same) = self.bake(&[], None)?;
            ensure!(
                same.digest == artifact.digest,
                "a bake with unchanged inputs made a different artifact"
            );
            let manifest = self.manifest(&artifact)?;
            let (added, _) = self.bake(std::slice::from_ref(&manifest), None)?;
            let kubelet = self.component(&artifact, run)?;
            let (changed, _) = self.bake(&[], Some(kubelet))?;
            for (seconds, samples) in [empty, unchanged, added, changed].into_iter().zip(&mut samples) {
                samples.push(seconds);
            }
        }
        let rows = BAKES.into_iter().zip(&samples).map(|(bake, samples)| Row {
            bake,
            unit: Unit::Seconds,
            summary: Summary::of(samples),
        });
        Ok(ProvisionReport {
            kubernetes: provider.recipe.kubernetes.to_string(),
            provider: provider.name.to_string(),
            nodes,
            runs: *runs,
            host: HostFacts::read(&self.context.dir),
            rows: rows.collect(),
        })
    }

    /// Returns the seconds that a bake took, and its artifact.
    fn bake(&self, manifests: &[PathBuf], kubelet: Option<PathBuf>) -> Result<(f64, Artifact)> {
        timed(|| self.provision(manifests, kubelet))
    }

    fn provision(&self, manifests: &[PathBuf], kubelet: Option<PathBuf>) -> Result<Artifact> {
        let mut provider = self.options.provider.clone();
        for path in manifests {
            provider.add_addon(Addon::load(path, &BTreeMap::new())?)?;
        }
        let binaries = kubelet.map(|path| BinaryOverride {
            name: COMPONENT.to_owned(),
            path,
        });
        let options = bake::Options {
            provider,
            source: self.options.source.clone(),
            overrides: Overrides {
                binaries: binaries.into_iter().collect(),
                ..Overrides::default()
            },
            size: ClusterSize {
                nodes: self.options.nodes,
                control_planes: None,
            },
            keep: false,
            tag: TAG.parse::<Tag>()?,
            dir: self.dir.clone(),
            cache: self.options.cache.clone(),
            supervise: self.context.supervise.clone(),
        };
        match bake::provision(&options)? {
            Outcome::Baked(artifact) | Outcome::Unchanged(artifact) => Ok(artifact),
        }
    }

    fn unpacked(&self, artifact: &Artifact, title: &str) -> Result<PathBuf> {
        let layer = artifact.layers.iter().find(|layer| layer.title == title);
        let layer = layer.with_context(|| format!("the artifact has no layer `{title}`"))?;
        Ok(Store::open(&self.dir.join("store"))?.unpacked(layer)?)
    }

    /// Writes a deployment of the pause image, which every artifact has.
    fn manifest(&self, artifact: &Artifact) -> Result<PathBuf> {
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

    /// Writes a copy of the component with other bytes: those appended to an ELF file are ignored.
    fn component(&self, artifact: &Artifact, run: u16) -> Result<PathBuf> {
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

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("could not write `{}`", path.display()))
}

fn head(report: &ProvisionReport) -> String {
    format!(
        "Kubernetes {}, {}; {}\n{}\n",
        report.kubernetes,
        count(report.nodes, "node"),
        count(report.runs.into(), "run"),
        report.host.line()
    )
}

fn rows(report: &ProvisionReport) -> impl Iterator<Item = [String; 4]> {
    report
        .rows
        .iter()
        .map(|row| row.summary.row(row.bake, |value| row.unit.show(value)))
}

impl Report for ProvisionReport {
    fn text(&self) -> String {
        format!(
            "{}\n{}",
            head(self),
            table(["BAKE", "MIN", "MEDIAN", "MAX"], rows(self))
        )
    }

    fn files(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("provision.md", markdown(self)),
            ("provision.json", to_json(self)?),
        ])
    }
}

fn markdown(report: &ProvisionReport) -> String {
    let mut text = format!(
        "# How long it takes to bake `{}` with prepared inputs\n\n{}\n",
        report.provider,
        head(report)
    );
    text += "| bake | min | median | max |\n|---|---|---|---|\n";
    text.extend(rows(report).map(|row| markdown_row(&row)));
    text
}
