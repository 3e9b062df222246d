//! Updating a provider's lock.

use std::collections::BTreeSet;
use std::path::Path;

use parbake_artifact::registry::Options;

use super::addon_images;
use super::cache::Cache;
use super::debian;
use super::error::Error;
use super::release::{self, Plan, ReleaseMirrors};
use crate::provider::Provider;
use crate::provider::lock::Lock;

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
    /// As Debian names it.
    pub architecture: &'a str,
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
    let architecture = update.architecture;
    let (old, mut lock) = match update.part {
        LockPart::Release => {
            let lock = Lock::load_for(provider, architecture)?;
            (Some(lock.clone()), lock)
        }
        // The pins of a lock that is out of date are kept where they still apply.
        LockPart::All | LockPart::Packages => (
            Lock::read(provider, architecture).ok(),
            debian::resolve(provider, architecture)?,
        ),
    };
    let release = old.as_ref().and_then(|old| old.release.clone());
    lock.tried = old.as_ref().map(|old| old.tried.clone()).unwrap_or_default();
    let why = match update.part {
        LockPart::All if !update.mirrors.any() => unreachable(provider, update)?,
        _ => None,
    };
    if let Some(why) = &why {
        tracing::info!("the pins for source `release` were not updated: {why}");
    }
    lock.release = if update.part == LockPart::Packages || why.is_some() {
        release::kept(release, provider, architecture)
    } else {
        let cache = Cache::new(update.cache).lock()?;
        let old = release.as_ref();
        let pinned = release::pin(
            provider,
            architecture,
            old,
            update.mirrors,
            update.registry,
            &cache,
        )?;
        lock.tried.extend(pinned.tried);
        Some(pinned.release)
    };
    addon_images::pin(provider, old.as_ref(), &mut lock, update);
    lock.forget_unpinned();
    let (_, missing) = Plan::new(provider, &lock, &BTreeSet::new(), &BTreeSet::new())?;
    let changed = lock.write(provider)?;
    Ok(UpdatedLock {
        changed,
        release: missing.is_empty(),
    })
}

/// Why published files cannot be reached, if so.
fn unreachable(provider: &Provider, update: &LockUpdate<'_>) -> Result<Option<String>, Error> {
    let urls = release::urls(provider, update.architecture)?;
    if urls.is_empty() {
        return Ok(Some("the provider file has no `[release]`".to_owned()));
    }
    let urls = urls.values().map(|url| update.mirrors.file(url));
    let urls = urls.collect::<Result<Vec<_>, _>>()?;
    let hosts = release::unreachable(urls, update.registry)?;
    let why: Vec<String> = hosts.values().map(ToString::to_string).collect();
    Ok(Some(why.join("; ")).filter(|why| !why.is_empty()))
}
