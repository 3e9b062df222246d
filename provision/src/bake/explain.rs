//! Why a bake does what it does: which of its steps have to be done, and what has changed since the last bake of the tag.

use std::collections::BTreeSet;

use parbake_artifact::Store;
use serde::Serialize;

use super::addons::Known;
use super::steps::{self, StepRecord};
use super::workspace::{BuildHistory, reusable};
use super::{Error, Options};
use crate::inputs;

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has to be done.
    Runs,
    /// Its result is there.
    Reused,
    /// That depends on what a step before it makes.
    Unknown,
}

/// An input that is another one than in the last bake of the tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub input: String,
    /// What it was: a short value as it is, otherwise the beginning of a digest; nothing where it is new.
    pub old: Option<String>,
    /// What it is; nothing where it is gone, or not known before a step has made it.
    pub new: Option<String>,
}

/// A step of a bake, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedStep {
    /// What it does.
    pub step: String,
    /// Whether it has to be done.
    pub verdict: Verdict,
    /// Why, in a line.
    pub why: String,
    /// The inputs that changed, by name.
    pub changed: Vec<Change>,
}

/// What a bake would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether the artifact in the store is from these very inputs, so that nothing has to be done.
    pub unchanged: bool,
    /// The steps, in their order.
    pub steps: Vec<ExplainedStep>,
}

/// Says what [`provision`](super::provision) would do with these options, and why, and does none of it.
///
/// # Errors
/// What it would say before its first side effect.
pub fn explain(options: &Options) -> Result<Explanation, Error> {
    let cluster = options.provider.describe_sized(options.size)?;
    let inputs = inputs::preview(
        &options.provider,
        &options.source,
        &options.overrides,
        &options.cache,
    )?;
    let store = Store::open(&options.dir.join("store"))?;
    let history = BuildHistory::read(&options.dir, &options.tag);
    let missing: BTreeSet<&str> = inputs
        .steps
        .iter()
        .filter(|step| !step.found)
        .map(|step| step.step.as_str())
        .collect();
    let asked = inputs
        .images
        .iter()
        .any(|image| options.provider.recipe.images.contains_key(&image.short_name));
    if asked {
        Known::new(&inputs.images).suffice_for(&options.provider.addons)?;
    }
    let mut explained: Vec<ExplainedStep> = inputs
        .steps
        .iter()
        .map(|step| {
            let reason = history.reason(&StepRecord::from(step), "its result is not in the cache");
            judged(step.step.clone(), step.found, reason)
        })
        .collect();
    let all = steps::all(options, &cluster, &inputs);
    let artifact = store.get(&options.tag).ok();
    let last = all.len() - 1;
    let unchanged = asked
        && missing.is_empty()
        && artifact.is_some_and(|artifact| history.is_from(&all[last].key(), &artifact.digest));
    for (number, step) in all.iter().enumerate() {
        // What images there are says kubeadm, which may have to be built first.
        let unknown = !asked && number + 1 >= last;
        let found = match number == last {
            true => unchanged,
            false => reusable(&options.dir, &store, &step.key()).is_some(),
        };
        let lost = match number == last {
            true => "the store has no artifact of these inputs by this name",
            false => "its layers are not in the store",
        };
        let reason = history.reason(&step.done(), lost);
        let mut one = judged(step.name.clone(), found, reason);
        if unknown {
            one.verdict = Verdict::Unknown;
            one.why = "kubeadm says which images there are, and has to be built first".to_owned();
            one.changed.clear();
        }
        explained.push(one);
    }
    Ok(Explanation {
        unchanged,
        steps: explained,
    })
}

/// Why something has to be done: in a line, and in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) why: String,
    pub(super) changed: Vec<Change>,
}

impl Reason {
    /// What changed from `old` to `new`; `lost` is the reason where nothing did.
    pub(super) fn of(old: Option<&StepRecord>, new: &StepRecord, lost: &str) -> Self {
        let Some(old) = old else {
            return Self {
                why: "the last bake had no such step".to_owned(),
                changed: Vec::new(),
            };
        };
        let names: BTreeSet<&String> = old.inputs.keys().chain(new.inputs.keys()).collect();
        let changed: Vec<Change> = names
            .into_iter()
            .filter(|name| old.inputs.get(*name) != new.inputs.get(*name))
            .map(|name| Change {
                input: name.clone(),
                old: old.inputs.get(name).cloned(),
                new: new.inputs.get(name).cloned(),
            })
            .collect();
        let why = match changed.as_slice() {
            [] => lost.to_owned(),
            changes => changes.iter().map(in_words).collect::<Vec<_>>().join("; "),
        };
        Self { why, changed }
    }
}

fn in_words(Change { input, old, new }: &Change) -> String {
    match (old, new) {
        (Some(old), Some(new)) => format!("{input} changed from {old} to {new}"),
        (None, _) => format!("{input} is new"),
        (_, None) => format!("{input} is gone"),
    }
}

fn judged(step: String, found: bool, reason: Reason) -> ExplainedStep {
    let Reason { why, changed } = reason;
    match found {
        true => ExplainedStep {
            step,
            verdict: Verdict::Reused,
            why: "nothing that it is made from has changed".to_owned(),
            changed: Vec::new(),
        },
        false => ExplainedStep {
            step,
            verdict: Verdict::Runs,
            why,
            changed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Reason};
    use crate::bake::steps::StepRecord;

    fn done(inputs: &[(&str, &str)]) -> StepRecord {
        StepRecord {
            step: "pack".to_owned(),
            inputs: inputs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_reason_names_what_changed() {
        let old = done(&[("kubelet", "1"), ("os", "2"), ("app", "3")]);
        let reason = |new: &[(&str, &str)]| Reason::of(Some(&old), &done(new), "it is lost");
        let same = reason(&[("kubelet", "1"), ("os", "2"), ("app", "3")]);
        assert_eq!((same.why.as_str(), same.changed.len()), ("it is lost", 0));
        let other = reason(&[("kubelet", "9"), ("os", "2"), ("cni", "4")]);
        assert_eq!(other.why, "app is gone; cni is new; kubelet changed from 1 to 9");
        assert_eq!(
            other.changed[2],
            Change {
                input: "kubelet".to_owned(),
                old: Some("1".to_owned()),
                new: Some("9".to_owned()),
            }
        );
        let first = Reason::of(None, &done(&[]), "it is lost");
        assert_eq!(first.why, "the last bake had no such step");
    }
}
