//! Making a lock anew: packages and add-ons, and what is published.

use std::path::Path;

use parbake_artifact::registry::Options;

use super::addon_images;
use super::cache::Cache;
use super::debian;
use super::error::Error;
use super::release::{self, ReleaseMirrors};
use crate::provider::lock::Lock;
use crate::provider::{Provider, Published};

/// Which part of a lock to make anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockPart {
    /// Both; what is published only where it can be reached.
    All,
    /// Debian packages and add-ons.
    Packages,
    /// What is published, for source `release`.
    Release,
}

/// What a lock was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdatedLock {
    /// Whether the lock is another one now.
    pub changed: bool,
    /// Whether source `release` has all that it needs in the lock.
    pub release: bool,
}

/// How to make a lock anew.
#[derive(Debug)]
pub struct LockUpdate<'a> {
    /// Which part of it.
    pub part: LockPart,
    /// Where what is published can be had.
    pub mirrors: &'a ReleaseMirrors,
    /// How to speak to these.
    pub registry: &'a Options,
    /// What was fetched on the way is kept here.
    pub cache: &'a Path,
}

/// Finds out what `provider` means today and writes its lock.
///
/// # Errors
/// When packages or what is published cannot be found out, or the lock cannot be written; the old lock stays then.
/// With [`LockPart::All`] and no mirror it is no error that what is published cannot be reached: what the lock has of it
/// stays, if it is still of these versions.
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
        LockPart::All if !update.mirrors.any() => match worth_it(provider, &lock.architecture, update) {
            Ok(()) => Some(pinned(provider, &lock.architecture, update)?),
            Err(why) => {
                tracing::info!("what source `release` takes is not pinned anew: {why}");
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

/// Whether the first file of all that is published can be reached.
fn worth_it(provider: &Provider, architecture: &str, update: &LockUpdate<'_>) -> Result<(), String> {
    let mut places = provider.recipe.release.values();
    let file = places.find_map(|place| match place {
        Published::File(template) => Some(template),
        Published::InImage { .. } => None,
    });
    let template = file.ok_or("the provider file has no `[release]`")?;
    let url = Published::url(template, &provider.recipe, architecture)?;
    let url = url.parse().map_err(|_| format!("`{url}` is no URL"))?;
    release::can_pin(&url, update.registry).map_err(|error| error.to_string())
}
