//! Published images of add-ons, by their digests in the provider's lock.

use std::collections::BTreeMap;

use parbake_artifact::Digest;

use super::error::Error;
use super::release::{Plan, ReleaseError, published_digest};
use super::update::{LockPart, LockUpdate};
use crate::provider::lock::Lock;
use crate::provider::{Addon, AddonError, AddonImage, Provider};

/// The images of add-ons of `provider` that cannot be built.
///
/// # Errors
/// [`AddonError::ImageNotPinned`].
pub(super) fn plan(provider: &Provider, lock: &Lock) -> Result<Plan, AddonError> {
    let mut images = BTreeMap::new();
    for (addon, name, image) in published(provider).filter(|(_, _, image)| !image.is_buildable()) {
        let digest = digest(lock, addon, image).ok_or_else(|| AddonError::ImageNotPinned {
            provider: provider.name.to_string(),
            addon: addon.name.clone(),
            image: image.reference.clone(),
        })?;
        images.insert(name.clone(), (image.reference.clone(), digest.clone()));
    }
    Ok(Plan::of_images(provider, lock, images))
}

/// The pinned images of add-ons of `provider` that can be built, too: by short name, the full name and the digest.
pub(super) fn buildable(provider: &Provider, lock: &Lock) -> BTreeMap<String, (String, Digest)> {
    let images = published(provider).filter(|(_, _, image)| image.is_buildable());
    let pinned = images.filter_map(|(addon, name, image)| {
        let digest = digest(lock, addon, image)?.clone();
        Some((name.clone(), (image.reference.clone(), digest)))
    });
    pinned.collect()
}

fn published(provider: &Provider) -> impl Iterator<Item = (&Addon, &String, &AddonImage)> {
    let addons = provider.addons.iter();
    addons.flat_map(|addon| {
        addon
            .recipe
            .published()
            .map(move |(name, image)| (addon, name, image))
    })
}

fn digest<'l>(lock: &'l Lock, addon: &Addon, image: &AddonImage) -> Option<&'l Digest> {
    lock.addons.get(&addon.name)?.images.get(&image.reference)
}

/// Pins the published images of all add-ons of the provider file in `lock`. An image whose registry is unreachable keeps its
/// digest from `old`; without one, its add-on is built, or cannot be baked.
pub(super) fn pin(provider: &Provider, old: Option<&Lock>, lock: &mut Lock, update: &LockUpdate<'_>) {
    let mut silent = BTreeMap::new();
    for addon in provider.pinned_addons() {
        let known = old.and_then(|old| old.addons.get(&addon.name));
        let Some(pinned) = lock.addons.get_mut(&addon.name) else {
            continue;
        };
        for (_, AddonImage { reference, .. }) in addon.recipe.published() {
            let kept = || known.and_then(|known| known.images.get(reference)).cloned();
            let current = match update.part {
                LockPart::Packages => None,
                LockPart::All | LockPart::Release => current_digest(reference, update, &mut silent)
                    .inspect_err(|error| {
                        let name = &addon.name;
                        tracing::info!("`{reference}` of the add-on `{name}` was not updated: {error}");
                    })
                    .ok(),
            };
            if update.mirrors.images.is_none() {
                lock.tried.extend(current.clone());
            }
            let digest = current.or_else(kept);
            pinned
                .images
                .extend(digest.map(|digest| (reference.clone(), digest)));
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
    use parbake_machine::executable::ARCHITECTURE;

    use super::super::release::ReleaseMirrors;
    use super::super::update::{LockPart, LockUpdate};
    use super::{buildable, pin, plan};
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
            architecture: ARCHITECTURE,
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
        // Built where it is not pinned.
        assert_eq!(buildable(&provider, &lock).len(), 1);
        let pinned = std::mem::take(&mut lock.addons.get_mut("local-storage").unwrap().images);
        assert!(plan(&provider, &lock).is_ok() && buildable(&provider, &lock).is_empty());
        assert_eq!(pinned.len(), 1);
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
