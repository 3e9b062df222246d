//! Where binaries and images come from.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use parbake_artifact::registry::Options;

use super::cache::Cache;
use super::error::Error;
use super::release::{Plan, ReleaseError, ReleaseMirrors, can_reach};

/// The source of binaries and images: `auto`, `release`, `modules` or a folder with a Kubernetes build output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `Release` if it is pinned and reachable, otherwise `Modules`.
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
            "release" => Self::Release,
            "modules" => Self::Modules,
            dir => Self::Dir(dir.into()),
        })
    }
}

/// The source of everything that is not overridden, selected before the first side effect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SelectedSource {
    Modules,
    Release(Plan),
}

impl SelectedSource {
    /// The name for `--source`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Modules => "modules",
            Self::Release(_) => "release",
        }
    }
}

impl Source {
    /// Selects a source and logs why. `plan` lists what source `release` would download.
    ///
    /// # Errors
    /// Source `release` is required and not pinned.
    pub(super) fn select(
        &self,
        plan: impl FnOnce() -> Result<Plan, ReleaseError>,
        mirrors: &ReleaseMirrors,
        registry: &Options,
        cache: &Cache,
    ) -> Result<SelectedSource, Error> {
        match self {
            Self::Modules => Ok(SelectedSource::Modules),
            Self::Release => Ok(SelectedSource::Release(plan()?)),
            Self::Auto | Self::Dir(_) => {
                let availability = |plan: &Plan| match plan.is_cached(cache) {
                    true => Ok("everything is in the cache"),
                    false => can_reach(plan, mirrors, registry).map(|()| "the release is reachable"),
                };
                let (selected, why) = match plan().map_err(Error::from).and_then(|plan| {
                    let why = availability(&plan)?;
                    Ok((plan, why))
                }) {
                    Ok((plan, why)) => (SelectedSource::Release(plan), why.to_owned()),
                    Err(error) => (SelectedSource::Modules, error.to_string()),
                };
                let what = match self {
                    Self::Dir(_) => "everything that the folder lacks",
                    _ => "source `auto`",
                };
                tracing::info!("{what}: using `{}`: {why}", selected.name());
                Ok(selected)
            }
        }
    }
}
