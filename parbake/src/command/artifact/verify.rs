//! `parbake artifact verify`

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use parbake_artifact::{Examination, ProblemKind, Store, Tag};
use parbake_up::layers_in_use;
use serde::Serialize;

use super::super::attached;
use super::names;
use crate::cli::Global;
use crate::output::{self, Format, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake artifact verify                       all artifacts
  parbake artifact verify k8s-1.34              one
  parbake artifact verify k8s-1.34 --repair     mend it, as far as that is possible here

Blobs are checked against their digests, and every file that was unpacked against its layer: its
bytes, mode, owner, modification time and extended attributes. Nothing may be there too much.";

/// Read every byte of artifacts, and compare it with what was frozen
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The artifacts' names in the store, such as k8s-1.34 [default: all]
    #[arg(value_name = "TAG")]
    tags: Vec<Tag>,
    /// Unpack anew what differs from its layer, unless a cluster uses it, and make layers anew from
    /// what they were unpacked to
    #[arg(long)]
    repair: bool,
    /// The public key in this PEM file must have a good signature of each
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    tags: Vec<Tag>,
    /// What is sound.
    blobs: usize,
    bytes: u64,
    unpacked_layers: usize,
    objects: usize,
    /// What was mended.
    repaired: Vec<String>,
    /// Who signed each, where a key was given.
    signed: Vec<attached::Signed>,
    /// What is wrong.
    problems: Vec<Wrong>,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
struct Wrong {
    tags: Vec<Tag>,
    layer: Option<String>,
    problem: String,
    /// Everything that differs in an unpacked layer.
    differences: Vec<Different>,
}

#[derive(Debug, Serialize)]
struct Different {
    path: String,
    problem: String,
}

impl Args {
    pub(crate) fn run(self, global: &Global, mut store: Store) -> anyhow::Result<()> {
        let tags = if self.tags.is_empty() {
            store.tags()?
        } else {
            self.tags
        };
        let key = self.key.map(attached::Key::load).transpose()?;
        let signed = |store: &Store| -> anyhow::Result<Vec<_>> {
            let checks = key
                .iter()
                .flat_map(|key| tags.iter().map(|tag| key.check(store, tag)));
            checks.collect()
        };
        // What nobody signed need not be read; but a signature may be what is to be mended.
        let early = (!self.repair).then(|| signed(&store)).transpose()?;
        let mut examined = store.examine(&tags)?;
        let mut repaired = Vec::new();
        if self.repair && !examined.problems.is_empty() {
            let before: Vec<_> = examined.problems.iter().map(ToString::to_string).collect();
            store.repair(examined.problems, || in_use(global))?;
            // What is said to be mended was looked at again.
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

fn in_use(global: &Global) -> anyhow::Result<BTreeSet<parbake_artifact::Digest>> {
    Ok(layers_in_use(&global.dir)?.into_iter().collect())
}

fn report(
    tags: Vec<Tag>,
    repaired: Vec<String>,
    signed: Vec<attached::Signed>,
    examined: &Examination,
) -> Report {
    let problems = examined.problems.iter().map(|problem| {
        let (layer, differences) = match &problem.kind {
            ProblemKind::Artifact(_) | ProblemKind::Referrer(_) => (None, &[][..]),
            ProblemKind::Blob(layer, _) => (Some(layer), &[][..]),
            ProblemKind::Unpacked(layer, differences) => (Some(layer), &differences[..]),
        };
        Wrong {
            tags: problem.tags.clone(),
            layer: layer.map(|layer| layer.title.clone()),
            problem: problem.to_string(),
            differences: differences
                .iter()
                .map(|difference| Different {
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
        "{repaired}{tags} {verb} sound: {blobs}, {bytes}; {layers} with {files}\n{signed}",
        tags = names(&report.tags),
        verb = if report.tags.len() == 1 { "is" } else { "are" },
        blobs = count(report.blobs, "blob"),
        bytes = size(report.bytes),
        layers = count(report.unpacked_layers, "unpacked layer"),
        files = count(report.objects, "file"),
    )
}

/// All that is wrong, and what to do about it.
fn problems(examined: &Examination, in_use: &BTreeSet<parbake_artifact::Digest>, repaired: bool) -> String {
    let number = count(examined.problems.len(), "problem");
    let mut text = format!("artifacts are damaged, {number}:");
    let mut advice = BTreeSet::new();
    for problem in &examined.problems {
        text.push_str(&format!("\n  {problem}"));
        match &problem.kind {
            // It says so itself.
            ProblemKind::Artifact(_) => {}
            ProblemKind::Unpacked(layer, _) if in_use.contains(&layer.digest) => {
                advice.insert(
                    "clusters use what differs: `parbake down` them, then `parbake artifact verify --repair`"
                        .to_owned(),
                );
            }
            _ if !repaired => {
                advice.insert("`parbake artifact verify --repair` mends what can be mended here".to_owned());
            }
            _ => {
                let tags = problem.tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(" ");
                advice.insert(format!(
                    "`parbake artifact remove {tags}`, then provision or pull again"
                ));
            }
        }
    }
    for line in advice {
        text.push_str(&format!("\n{line}"));
    }
    text
}
