//! `parbake artifact verify`

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use parbake_artifact::{Examination, ProblemKind, Store, Tag};
use parbake_up::layers_in_use;
use serde::Serialize;

use super::super::attachments;
use super::names;
use crate::args::{GlobalArgs, path};
use crate::output::{self, Format, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake artifact verify                       all artifacts
  parbake artifact verify k8s-1.34              one artifact
  parbake artifact verify k8s-1.34 --repair     repair it as far as possible on this host

Blobs are compared with their digests, and unpacked files with their layer: content, mode, owner,
modification time and extended attributes. Missing and additional files are reported.";

/// Verify every byte of artifacts in the store
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifacts' names in the store, such as k8s-1.34 [default: all]
    #[arg(value_name = "TAG")]
    tags: Vec<Tag>,
    /// Unpack damaged layers again unless a cluster uses them, and rebuild damaged blobs from
    /// unpacked layers
    #[arg(long)]
    repair: bool,
    /// Also require a valid signature by the public key in this PEM file
    #[arg(long, value_name = "FILE", value_parser = path())]
    key: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    tags: Vec<Tag>,
    /// Blobs without problems.
    blobs: usize,
    bytes: u64,
    unpacked_layers: usize,
    objects: usize,
    /// Problems that were repaired.
    repaired: Vec<String>,
    /// With `--key`.
    signed: Vec<attachments::Signed>,
    problems: Vec<ProblemReport>,
}

#[derive(Debug, Serialize)]
struct ProblemReport {
    tags: Vec<Tag>,
    layer: Option<String>,
    problem: String,
    /// The differences in an unpacked layer.
    differences: Vec<FileDifference>,
}

#[derive(Debug, Serialize)]
struct FileDifference {
    path: String,
    problem: String,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs, mut store: Store) -> anyhow::Result<()> {
        let tags = if self.tags.is_empty() {
            store.tags()?
        } else {
            self.tags
        };
        let key = self.key.map(attachments::Key::load).transpose()?;
        let signed = |store: &Store| -> anyhow::Result<Vec<_>> {
            let checks = key
                .iter()
                .flat_map(|key| tags.iter().map(|tag| key.check(store, tag)));
            checks.collect()
        };
        // Without a signature, nothing needs to be read; but `--repair` may repair signatures.
        let early = (!self.repair).then(|| signed(&store)).transpose()?;
        let step = tracing::info_span!("step", what = format!("verify {}", names(&tags)));
        let mut examined = step.in_scope(|| store.examine(&tags))?;
        let mut repaired = Vec::new();
        if self.repair && !examined.problems.is_empty() {
            let before: Vec<_> = examined.problems.iter().map(ToString::to_string).collect();
            store.repair(examined.problems, || in_use(global))?;
            // Report as repaired only what a second examination finds in order.
            examined = store.examine(&tags)?;
            let left: Vec<_> = examined.problems.iter().map(ToString::to_string).collect();
            repaired = before;
            repaired.retain(|problem| !left.contains(problem));
        }
        let signed = match early {
            Some(signed) => signed,
            None if examined.problems.is_empty() => signed(&store)?,
            None => Vec::new(),
        };
        let report = report(tags, repaired, signed, &examined);
        if report.problems.is_empty() {
            return output::print(global.output, &report, text);
        }
        if global.output == Format::Json {
            output::print(global.output, &report, text)?;
        }
        let in_use = in_use(global)?;
        bail!("{}", problems(&examined, &in_use, self.repair))
    }
}

fn in_use(global: &GlobalArgs) -> anyhow::Result<BTreeSet<parbake_artifact::Digest>> {
    Ok(layers_in_use(&global.dir)?.into_iter().collect())
}

fn report(
    tags: Vec<Tag>,
    repaired: Vec<String>,
    signed: Vec<attachments::Signed>,
    examined: &Examination,
) -> Report {
    let problems = examined.problems.iter().map(|problem| {
        let (layer, differences) = match &problem.kind {
            ProblemKind::Artifact(_) | ProblemKind::Referrer(_) => (None, &[][..]),
            ProblemKind::Blob(layer, _) => (Some(layer), &[][..]),
            ProblemKind::Unpacked(layer, differences) => (Some(layer), &differences[..]),
        };
        ProblemReport {
            tags: problem.tags.clone(),
            layer: layer.map(|layer| layer.title.clone()),
            problem: problem.to_string(),
            differences: differences
                .iter()
                .map(|difference| FileDifference {
                    path: difference.path.to_string_lossy().into_owned(),
                    problem: difference.kind.to_string(),
                })
                .collect(),
        }
    });
    Report {
        tags,
        blobs: examined.blobs,
        bytes: examined.bytes,
        unpacked_layers: examined.unpacked,
        objects: examined.objects,
        repaired,
        signed,
        problems: problems.collect(),
    }
}

fn text(report: &Report) -> String {
    if report.tags.is_empty() {
        return "no artifacts: make one with `parbake provision`\n".to_owned();
    }
    let repaired: String = report
        .repaired
        .iter()
        .map(|problem| format!("repaired: {problem}\n"))
        .collect();
    let signed: String = report.signed.iter().map(ToString::to_string).collect();
    format!(
        "{repaired}{tags} {verb} intact: {blobs}, {bytes}; {layers} with {files}\n{signed}",
        tags = names(&report.tags),
        verb = if report.tags.len() == 1 { "is" } else { "are" },
        blobs = count(report.blobs, "blob"),
        bytes = size(report.bytes),
        layers = count(report.unpacked_layers, "unpacked layer"),
        files = count(report.objects, "file"),
    )
}

/// All problems, and what to do about them.
fn problems(examined: &Examination, in_use: &BTreeSet<parbake_artifact::Digest>, repaired: bool) -> String {
    let number = count(examined.problems.len(), "problem");
    let mut text = format!("artifacts are damaged, {number}:");
    let mut remedies = BTreeSet::new();
    for problem in &examined.problems {
        text.push_str(&format!("\n{problem}"));
        match &problem.kind {
            // The message names the remedy.
            ProblemKind::Artifact(_) => {}
            ProblemKind::Unpacked(layer, _) if in_use.contains(&layer.digest) => {
                remedies.insert(
                    "clusters use damaged layers: remove them with `parbake down`, then run `parbake artifact verify --repair`"
                        .to_owned(),
                );
            }
            _ if !repaired => {
                remedies.insert(
                    "run `parbake artifact verify --repair` to repair what can be repaired on this host"
                        .to_owned(),
                );
            }
            _ => {
                let tags = problem.tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(" ");
                remedies.insert(format!(
                    "run `parbake artifact remove {tags}`, then provision or pull again"
                ));
            }
        }
    }
    for line in remedies {
        text.push_str(&format!("\n{line}"));
    }
    text
}
