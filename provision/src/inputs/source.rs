//! Where binaries and images come from.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::iter::successors;
use std::path::PathBuf;
use std::str::FromStr;

use parbake_artifact::registry::Options;

use super::cache::Cache;
use super::error::Error;
use super::release::{Plan, ReleaseError, ReleaseMirrors, remove_unreachable};

const RELEASE: &str = "release";
pub(super) const MODULES: &str = "modules";

/// The source of binaries and images: `auto`, `release`, `modules` or a folder with a Kubernetes build output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `Release` for everything that is pinned and reachable, `Modules` for the rest.
    Auto,
    /// Published binaries and the image registry.
    Release,
    /// Built from Go modules.
    Modules,
    /// A Kubernetes build output; everything else comes from `Auto`.
    Dir(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" => Self::Auto,
            RELEASE => Self::Release,
            MODULES => Self::Modules,
            dir => Self::Dir(dir.into()),
        })
    }
}

/// What is downloaded of everything that is not overridden, selected before the first side effect. The rest is built.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) plan: Plan,
}

impl Selected {
    /// The name for `--source`.
    pub(super) fn name(&self) -> &'static str {
        match self.plan.is_empty() {
            true => MODULES,
            false => RELEASE,
        }
    }
}

impl Source {
    /// Selects what is downloaded and logs why. `plan` has everything that is pinned, `missing` says why it lacks anything.
    ///
    /// # Errors
    /// Source `release` is required and something is missing; a host sends other content than is pinned.
    pub(super) fn select(
        &self,
        mut plan: Plan,
        missing: Vec<ReleaseError>,
        mirrors: &ReleaseMirrors,
        registry: &Options,
        cache: &Cache,
    ) -> Result<Selected, Error> {
        let what = match self {
            Self::Release => {
                return match missing.into_iter().next() {
                    Some(error) => Err(error.into()),
                    None => Ok(Selected { plan }),
                };
            }
            Self::Modules => {
                plan.clear();
                return Ok(Selected { plan });
            }
            Self::Dir(_) => "everything that the folder lacks",
            Self::Auto => "source `auto`",
        };
        let unreachable = remove_unreachable(&mut plan, mirrors, registry, cache)?;
        let mut why = by_cause(&unreachable);
        why.extend(missing.first().map(ToString::to_string));
        let selected = Selected { plan };
        match (selected.plan.is_empty(), why.as_slice()) {
            (false, []) => tracing::info!("{what}: using `{RELEASE}`"),
            (false, _) => {
                tracing::info!(
                    "{what}: using `{RELEASE}`, and `{MODULES}` for the rest: {}",
                    why.join("; ")
                );
            }
            (true, _) => tracing::info!("{what}: using `{MODULES}`: {}", why.join("; ")),
        }
        Ok(selected)
    }
}

/// The hosts that cannot be reached, with the innermost cause of each failure.
fn by_cause(unreachable: &BTreeMap<String, Error>) -> Vec<String> {
    let mut causes = BTreeMap::<String, Vec<String>>::new();
    for (host, error) in unreachable {
        let chain = successors(Some(error as &dyn std::error::Error), |error| error.source());
        let cause = chain.last().map(ToString::to_string).unwrap_or_default();
        causes.entry(cause).or_default().push(format!("`{host}`"));
    }
    let line = |(cause, hosts): (&String, &Vec<String>)| format!("cannot use {} ({cause})", hosts.join(", "));
    causes.iter().map(line).collect()
}
