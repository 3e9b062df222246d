//! Where binaries and images come from.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use parbake_artifact::registry::Options;

use super::cache::Cache;
use super::error::Error;
use super::release::{Plan, ReleaseError, ReleaseMirrors, can_reach};

/// Where binaries and images come from: `auto`, `release`, `modules` or a folder with a Kubernetes build output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// What is published where that can be reached and is pinned, otherwise built from Go modules.
    Auto,
    /// Published binaries and the image registry.
    Release,
    /// Built from Go modules.
    Modules,
    /// A Kubernetes build output; what it lacks is as with `auto`.
    Dir(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" => Self::Auto,
            "release" => Self::Release,
            "modules" => Self::Modules,
            dir => Self::Dir(dir.into()),
        })
    }
}

/// Where all that is not given comes from, chosen before the first side effect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// It is built.
    Modules,
    /// It is fetched.
    Release(Plan),
}

impl Chosen {
    /// As `--source` names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Modules => "modules",
            Self::Release(_) => "release",
        }
    }
}

impl Source {
    /// Chooses, where there is a choice, and says what and why. `plan` is what source `release` would take, or why it
    /// cannot.
    ///
    /// # Errors
    /// That reason, where there is no choice.
    pub(super) fn choose(
        &self,
        plan: impl FnOnce() -> Result<Plan, ReleaseError>,
        mirrors: &ReleaseMirrors,
        registry: &Options,
        cache: &Cache,
    ) -> Result<Chosen, Error> {
        match self {
            Self::Modules => Ok(Chosen::Modules),
            Self::Release => Ok(Chosen::Release(plan()?)),
            Self::Auto | Self::Dir(_) => {
                let reached = |plan: &Plan| match plan.is_cached(cache) {
                    true => Ok("all that is published is in the cache"),
                    false => can_reach(plan, mirrors, registry).map(|()| "what is published can be reached"),
                };
                let (chosen, why) = match plan().map_err(Error::from).and_then(|plan| {
                    let why = reached(&plan)?;
                    Ok((plan, why))
                }) {
                    Ok((plan, why)) => (Chosen::Release(plan), why.to_owned()),
                    Err(error) => (Chosen::Modules, error.to_string()),
                };
                let what = match self {
                    Self::Dir(_) => "what the folder lacks is as with `auto`",
                    _ => "source `auto`",
                };
                tracing::info!("{what}: taking `{}`: {why}", chosen.name());
                Ok(chosen)
            }
        }
    }
}
