//! Pinning published files and images by digest.

use std::collections::{BTreeMap, BTreeSet};

use parbake_artifact::http::{HttpError, WebClient};
use parbake_artifact::registry::{Options, manifest_digest};
use parbake_artifact::{Digest, Reference};
use parbake_machine::executable::ARCHITECTURE;
use parbake_machine::fs::files::failed;
use tokio::runtime::Runtime;

use super::super::cache::Locked;
use super::super::error::Error;
use super::super::images::{references, short_name};
use super::download::download_file;
use super::fetch::web_client;
use super::plan::{KUBEADM, urls};
use super::{ReleaseError, ReleaseMirrors};
use crate::provider::Provider;
use crate::provider::lock::{PinnedFile, Release};

/// The suffixes of files with digests: that of Kubernetes and its tools, then that of containerd.
const DIGEST_SUFFIXES: [&str; 2] = [".sha256", ".sha256sum"];

/// Current pins.
#[derive(Debug)]
pub(in crate::inputs) struct Pinned {
    pub(in crate::inputs) release: Release,
    /// The digests that the public site has confirmed, not a mirror.
    pub(in crate::inputs) tried: BTreeSet<Digest>,
}

/// Finds the digests of everything that `provider` takes from source `release`: those of files next to them, those of images
/// in their registry. kubeadm is downloaded for this host, since it lists the images. A file without a digest next to it keeps
/// its `old` pin.
///
/// # Errors
/// Files and images that are not published, or cannot be downloaded.
pub(in crate::inputs) fn pin(
    provider: &Provider,
    architecture: &str,
    old: Option<&Release>,
    mirrors: &ReleaseMirrors,
    options: &Options,
    cache: &Locked,
) -> Result<Pinned, Error> {
    let what = format!("pin what is published for {}", provider.name);
    let _step = tracing::info_span!("step", what).entered();
    let runtime = Runtime::new().map_err(failed("start threads for", &provider.dir))?;
    let web = web_client(options)?;
    let (mut files, mut tried) = (BTreeMap::new(), BTreeSet::new());
    for (name, url) in urls(provider, architecture)? {
        let file = match runtime.block_on(published_digest(&web, &url, mirrors)) {
            Ok(digest) => {
                tried.extend(mirrors.binaries.is_none().then(|| digest.clone()));
                PinnedFile { url, digest }
            }
            Err(error @ ReleaseError::Http(HttpError::NotFound { .. })) => {
                let kept = old.and_then(|old| old.files.get(&name));
                kept.filter(|file| file.url == url).cloned().ok_or(error)?
            }
            Err(error) => return Err(error.into()),
        };
        files.insert(name, file);
    }
    let url = urls(provider, ARCHITECTURE)?.remove(KUBEADM);
    let url = url.ok_or_else(|| ReleaseError::NoLocation {
        binary: KUBEADM.to_owned(),
    })?;
    let digest = runtime.block_on(published_digest(&web, &url, mirrors))?;
    let kubeadm = download_file(KUBEADM, &PinnedFile { url, digest }, mirrors, options, cache)?;
    let references = references(provider, &kubeadm)?;
    let images = runtime.block_on(async {
        let mut images = BTreeMap::new();
        for reference in references.into_values() {
            let digest = manifest_digest(&mirrors.image(&reference, None)?, options).await?;
            images.insert(reference, digest);
        }
        Ok::<_, Error>(images)
    })?;
    if mirrors.images.is_none() {
        tried.extend(images.values().cloned());
    }
    let release = Release { files, images };
    Ok(Pinned { release, tried })
}

/// The `old` pins that still apply to `provider`: those of files with the same URL, and those of images unless kubeadm, which
/// lists them, has changed and asks for another version. `None` if no pin is left.
pub(in crate::inputs) fn kept(
    old: Option<Release>,
    provider: &Provider,
    architecture: &str,
) -> Option<Release> {
    let urls = urls(provider, architecture).ok()?;
    let mut release = old?;
    release
        .files
        .retain(|name, file| urls.get(name) == Some(&file.url));
    if !release.files.contains_key(KUBEADM) {
        release.images.retain(|name, _| has_version(provider, name));
    }
    let is_empty = release.files.is_empty() && release.images.is_empty();
    (!is_empty).then_some(release)
}

/// True if the tag of an image of kubeadm is the version in the provider file: of a component, or of Kubernetes.
fn has_version(provider: &Provider, reference: &str) -> bool {
    let parsed = reference.parse::<Reference>().ok();
    let tag = parsed.as_ref().and_then(Reference::tag).unwrap_or_default();
    match provider.recipe.components.get(short_name(reference)) {
        Some(version) => tag.contains(&version.to_string()),
        None => tag == provider.recipe.kubernetes.to_string(),
    }
}

/// The digest in the file next to `url`.
async fn published_digest(
    web: &WebClient,
    url: &str,
    mirrors: &ReleaseMirrors,
) -> Result<Digest, ReleaseError> {
    let [first, second] = DIGEST_SUFFIXES.map(|suffix| mirrors.file(&format!("{url}{suffix}")));
    let (first, second) = (first?, second?);
    let (url, text) = match web.text(&first).await {
        // If both are missing, the usual name is the more helpful one.
        Err(missing @ HttpError::NotFound { .. }) => {
            let text = web.text(&second).await;
            (second, text.map_err(|_| missing)?)
        }
        text => (first, text?),
    };
    first_digest(&text).ok_or_else(|| ReleaseError::NoDigest { url: url.to_string() })
}

/// The first digest in the output of `sha256sum`, or a digest alone.
pub(super) fn first_digest(text: &str) -> Option<Digest> {
    let first = text.split_whitespace().next()?;
    format!("sha256:{}", first.to_ascii_lowercase()).parse().ok()
}
