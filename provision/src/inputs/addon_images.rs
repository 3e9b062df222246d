//! Published images of add-ons, by their digests in the provider's lock.

use std::collections::BTreeMap;

use parbake_artifact::Digest;

use super::error::Error;
use super::release::{Plan, ReleaseError, published_digest};
use super::update::{LockPart, LockUpdate};
use crate::provider::lock::Lock;
use crate::provider::{AddonError, Provider};

/// The published images that the add-ons of `provider` need.
///
/// # Errors
/// [`AddonError::ImageNotPinned`].
pub(super) fn plan(provider: &Provider, lock: &Lock) -> Result<Plan, AddonError> {
    let mut images = BTreeMap::new();
    for addon in &provider.addons {
        let pinned = lock.addons.get(&addon.name).map(|pinned| &pinned.images);
        for (name, reference) in addon.recipe.published() {
            let digest = pinned.and_then(|pinned| pinned.get(reference));
            let digest = digest.ok_or_else(|| AddonError::ImageNotPinned {
                provider: provider.name.to_string(),
                addon: addon.name.clone(),
                image: reference.to_owned(),
            })?;
            images.insert(name.to_owned(), (reference.to_owned(), digest.clone()));
        }
    }
    Ok(Plan::of_images(lock.architecture.clone(), images))
}

/// Pins the published images of all add-ons of the provider file in `lock`. An image whose registry is unreachable keeps its
/// digest from `old`; without one, only its add-on cannot be baked.
pub(super) fn pin(provider: &Provider, old: Option<&Lock>, lock: &mut Lock, update: &LockUpdate<'_>) {
    let mut silent = BTreeMap::new();
    for addon in provider.pinned_addons() {
        let known = old.and_then(|old| old.addons.get(&addon.name));
        let Some(pinned) = lock.addons.get_mut(&addon.name) else {
            continue;
        };
        for (_, reference) in addon.recipe.published() {
            let kept = || known.and_then(|known| known.images.get(reference)).cloned();
            let digest = match update.part {
                LockPart::Packages => kept(),
                LockPart::All | LockPart::Release => current_digest(reference, update, &mut silent)
                    .map_or_else(
                        |error| {
                            let name = &addon.name;
                            tracing::info!("`{reference}` of the add-on `{name}` was not updated: {error}");
                            kept()
                        },
                        Some,
                    ),
            };
            pinned
                .images
                .extend(digest.map(|digest| (reference.to_owned(), digest)));
        }
    }
}

/// The current digest of an image. Registries in `silent` have timed out before, after that many seconds, and are skipped.
fn current_digest(
    reference: &str,
    update: &LockUpdate<'_>,
    silent: &mut BTreeMap<String, u64>,
) -> Result<Digest, Error> {
    let reference = update.mirrors.image(reference, None)?;
    if let Some((host, seconds)) = silent.get_key_value(reference.registry()) {
        let (host, seconds) = (host.clone(), *seconds);
        return Err(ReleaseError::Timeout { host, seconds }.into());
    }
    let digest = published_digest(&reference, update.registry);
    if let Err(Error::Release(ReleaseError::Timeout { host, seconds })) = &digest {
        silent.insert(host.clone(), *seconds);
    }
    digest
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use parbake_artifact::registry::Options;

    use super::super::release::ReleaseMirrors;
    use super::super::update::{LockPart, LockUpdate};
    use super::{pin, plan};
    use crate::provider::lock::Lock;
    use crate::provider::{Addon, Provider};

    const ADDON: &str = r#"
version = "1.0.0"
description = "d"
status = "untested"
images.driver = { reference = "example.org/driver:v1" }
"#;

    #[test]
    fn unresponsive_registry_is_contacted_once() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34");
        let provider = Provider::load(&dir).unwrap();
        let published = provider
            .pinned_addons()
            .map(|addon| addon.recipe.published().count());
        assert!(published.sum::<usize>() > 4);
        let before = Lock::load(&provider).unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let update = LockUpdate {
            part: LockPart::Release,
            mirrors: &ReleaseMirrors {
                binaries: None,
                images: Some(silent.local_addr().unwrap().to_string().parse().unwrap()),
            },
            registry: &Options::default(),
            cache: Path::new("/nowhere"),
        };
        let (mut after, begun) = (before.clone(), Instant::now());
        pin(&provider, Some(&before), &mut after, &update);
        assert_eq!(after, before);
        // One timeout for each image would take more than 20 s.
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
    }

    #[test]
    fn published_images_must_be_pinned() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34");
        let mut provider = Provider::load(&dir).unwrap();
        let mut lock = Lock::load(&provider).unwrap();
        assert!(plan(&provider, &lock).is_ok());
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("driver");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("addon.toml"), ADDON).unwrap();
        provider
            .add_addon(Addon::load(&folder, &[].into()).unwrap())
            .unwrap();
        let error = plan(&provider, &lock).unwrap_err().to_string();
        assert!(
            error.contains("`example.org/driver:v1` of the add-on `driver`")
                && error.contains("`parbake provider update k8s-1.34`"),
            "{error}"
        );
        let mut pinned = lock.addons["local-storage"].clone();
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        pinned.images = [("example.org/driver:v1".to_owned(), digest)].into();
        lock.addons.insert("driver".to_owned(), pinned);
        assert!(plan(&provider, &lock).is_ok());
        assert_eq!(Lock::parse(&lock.to_text("k8s-1.34").unwrap()).unwrap(), lock);
    }
}
