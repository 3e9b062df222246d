//! Updating a provider's lock.

use std::path::Path;

use parbake_artifact::registry::Options;

use super::addon_images;
use super::cache::Cache;
use super::debian;
use super::error::Error;
use super::release::{self, ReleaseMirrors};
use crate::provider::lock::Lock;
use crate::provider::{Provider, Published};

/// The part of a lock to update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockPart {
    /// Everything; release files and images only if they are reachable.
    All,
    /// Debian packages and add-ons.
    Packages,
    /// Files and images for source `release`.
    Release,
}

/// The result of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdatedLock {
    pub changed: bool,
    /// True if the lock pins everything that source `release` needs.
    pub release: bool,
}

/// How to update a lock.
#[derive(Debug)]
pub struct LockUpdate<'a> {
    pub part: LockPart,
    pub mirrors: &'a ReleaseMirrors,
    pub registry: &'a Options,
    /// The cache directory for downloads.
    pub cache: &'a Path,
}

/// Resolves the inputs of `provider` and writes its lock. With [`LockPart::All`] and no mirror, an unreachable release is not
/// an error: pins that still apply are kept.
///
/// # Errors
/// Packages or release files could not be resolved, or the lock could not be written. The old lock stays then.
pub fn update_lock(provider: &Provider, update: &LockUpdate<'_>) -> Result<UpdatedLock, Error> {
    let old = Lock::load(provider);
    let before = old.as_ref().ok().cloned();
    let published = before.as_ref().and_then(|lock| lock.release.clone());
    let mut lock = match update.part {
        LockPart::Release => old?,
        LockPart::All | LockPart::Packages => debian::resolve(provider)?,
    };
    let kept = || release::kept(published.clone(), provider, &lock.architecture);
    lock.release = match update.part {
        LockPart::Packages => kept(),
        LockPart::All if !update.mirrors.any() => match check_release(provider, &lock.architecture, update) {
            Ok(()) => Some(pinned(provider, &lock.architecture, update)?),
            Err(why) => {
                tracing::info!("the pins for source `release` were not updated: {why}");
                kept()
            }
        },
        LockPart::All | LockPart::Release => Some(pinned(provider, &lock.architecture, update)?),
    };
    addon_images::pin(provider, before.as_ref(), &mut lock, update);
    let release = lock.release.as_ref();
    let release = release.is_some_and(|release| release::is_complete(release, provider, &lock.architecture));
    let changed = lock.write(provider)?;
    Ok(UpdatedLock { changed, release })
}

fn pinned(
    provider: &Provider,
    architecture: &str,
    update: &LockUpdate<'_>,
) -> Result<crate::provider::lock::Release, Error> {
    let cache = Cache::new(update.cache).lock()?;
    release::pin(provider, architecture, update.mirrors, update.registry, &cache)
}

/// Checks that the first release file is reachable.
fn check_release(provider: &Provider, architecture: &str, update: &LockUpdate<'_>) -> Result<(), String> {
    let mut places = provider.recipe.release.values();
    let file = places.find_map(|place| match place {
        Published::File(template) => Some(template),
        Published::InImage { .. } => None,
    });
    let template = file.ok_or("the provider file has no `[release]`")?;
    let url = Published::url(template, &provider.recipe, architecture)?;
    let url = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
    release::can_pin(&url, update.registry).map_err(|error| error.to_string())
}
