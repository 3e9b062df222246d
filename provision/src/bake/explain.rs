//! Explains which steps a bake would run, and which inputs changed since the last bake of the tag.

use std::collections::BTreeSet;

use parbake_artifact::Store;
use serde::Serialize;

use super::addons::AvailableImages;
use super::steps::{self, StepRecord};
use super::workspace::{BuildHistory, reusable};
use super::{Error, Options};
use crate::inputs;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Runs,
    Reused,
    /// It depends on the result of an earlier step.
    Unknown,
}

/// An input that changed since the last bake of the tag. Long values are shown as the start of a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub input: String,
    /// `None` for a new input.
    pub old: Option<String>,
    /// `None` for an input that was removed, or that an earlier step has yet to make.
    pub new: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedStep {
    pub step: String,
    pub verdict: Verdict,
    /// The reason, in one line.
    pub why: String,
    /// Sorted by name.
    pub changed: Vec<Change>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// True if the artifact in the store was made from the same inputs.
    pub unchanged: bool,
    /// In the order of the bake.
    pub steps: Vec<ExplainedStep>,
}

/// Explains what [`provision`](super::provision) would do with these options. Runs no step.
///
/// # Errors
/// Those of [`provision`](super::provision) before its first side effect.
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
    let images_known = inputs
        .images
        .iter()
        .any(|image| options.provider.recipe.images.contains_key(&image.short_name));
    if images_known {
        AvailableImages::new(&inputs.images).check_addons(&options.provider.addons)?;
    }
    let mut explained: Vec<ExplainedStep> = inputs
        .steps
        .iter()
        .map(|step| {
            let reason = history.reason(&StepRecord::from(step), "its result is not in the cache");
            explained_step(step.step.clone(), step.found, reason)
        })
        .collect();
    let all = steps::all(options, &cluster, &inputs);
    let artifact = store.get(&options.tag).ok();
    let last = all.len() - 1;
    let unchanged = images_known
        && missing.is_empty()
        && artifact.is_some_and(|artifact| history.is_from(&all[last].key(), &artifact.digest));
    for (number, step) in all.iter().enumerate() {
        // kubeadm lists the images, and may have to be built first.
        let unknown = !images_known && number + 1 >= last;
        let (found, not_found) = match number == last {
            true => (unchanged, steps::NO_ARTIFACT),
            false => (
                reusable(&options.dir, &store, &step.key()).is_some(),
                steps::NO_LAYERS,
            ),
        };
        let reason = history.reason(&step.record(), not_found);
        let mut one = explained_step(step.name.clone(), found, reason);
        if unknown {
            one.verdict = Verdict::Unknown;
            one.why = "kubeadm, which lists the images, has to be built first".to_owned();
            one.changed.clear();
        }
        explained.push(one);
    }
    Ok(Explanation {
        unchanged,
        steps: explained,
    })
}

/// Why a step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) why: String,
    pub(super) changed: Vec<Change>,
}

impl Reason {
    /// The changes from `old` to `new`, or `not_found` if there are none.
    pub(super) fn from_changes(old: Option<&StepRecord>, new: &StepRecord, not_found: &str) -> Self {
        let Some(old) = old else {
            return Self {
                why: "the last bake did not have this step".to_owned(),
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
            [] => not_found.to_owned(),
            changes => changes.iter().map(describe).collect::<Vec<_>>().join("; "),
        };
        Self { why, changed }
    }
}

fn describe(Change { input, old, new }: &Change) -> String {
    match (old, new) {
        (Some(old), Some(new)) => format!("{input} changed from {old} to {new}"),
        (None, _) => format!("{input} is new"),
        (_, None) => format!("{input} was removed"),
    }
}

fn explained_step(step: String, found: bool, reason: Reason) -> ExplainedStep {
    let Reason { why, changed } = reason;
    match found {
        true => ExplainedStep {
            step,
            verdict: Verdict::Reused,
            why: "its inputs are unchanged".to_owned(),
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

    fn record(inputs: &[(&str, &str)]) -> StepRecord {
        StepRecord {
            step: "pack".to_owned(),
            inputs: inputs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn reason_names_the_changed_inputs() {
        let old = record(&[("kubelet", "1"), ("os", "2"), ("app", "3")]);
        let reason = |new: &[(&str, &str)]| Reason::from_changes(Some(&old), &record(new), "it is not found");
        let same = reason(&[("kubelet", "1"), ("os", "2"), ("app", "3")]);
        assert_eq!((same.why.as_str(), same.changed.len()), ("it is not found", 0));
        let other = reason(&[("kubelet", "9"), ("os", "2"), ("cni", "4")]);
        assert_eq!(
            other.why,
            "app was removed; cni is new; kubelet changed from 1 to 9"
        );
        assert_eq!(
            other.changed[2],
            Change {
                input: "kubelet".to_owned(),
                old: Some("1".to_owned()),
                new: Some("9".to_owned()),
            }
        );
        let first = Reason::from_changes(None, &record(&[]), "it is not found");
        assert_eq!(first.why, "the last bake did not have this step");
    }
}
