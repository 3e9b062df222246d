//! Pinning published files and images by digest.

use std::collections::{BTreeMap, BTreeSet};

use parbake_artifact::Digest;
use parbake_artifact::http::{HttpError, WebClient};
use parbake_artifact::registry::{Options, manifest_digest};
use parbake_machine::fs::files::failed;
use tokio::runtime::Runtime;

use super::super::cache::Locked;
use super::super::error::Error;
use super::super::images::references;
use super::download::download_file;
use super::fetch::web_client;
use super::plan::{KUBEADM, Locations};
use super::{ReleaseError, ReleaseMirrors};
use crate::provider::Provider;
use crate::provider::lock::{PinnedFile, Release};

/// The suffixes of files with digests: that of Kubernetes and its tools, then that of containerd.
const DIGEST_SUFFIXES: [&str; 2] = [".sha256", ".sha256sum"];

/// Finds the digests of everything that `provider` takes from source `release`: those of files next to them, those of images
/// in their registry. kubeadm is downloaded, since it lists the images.
///
/// # Errors
/// Files and images that are not published, or cannot be downloaded.
pub(in crate::inputs) fn pin(
    provider: &Provider,
    architecture: &str,
    mirrors: &ReleaseMirrors,
    options: &Options,
    cache: &Locked,
) -> Result<Release, Error> {
    let what = format!("pin what is published for {}", provider.name);
    let _step = tracing::info_span!("step", what).entered();
    let urls = Locations::new(provider, &BTreeSet::new(), architecture)?.files;
    let runtime = Runtime::new().map_err(failed("start threads for", &provider.dir))?;
    let files = runtime.block_on(file_digests(urls, mirrors, options))?;
    let kubeadm = files.get(KUBEADM).ok_or_else(|| ReleaseError::NoLocation {
        binary: KUBEADM.to_owned(),
    })?;
    let kubeadm = download_file(KUBEADM, kubeadm, mirrors, options, cache)?;
    let references = references(provider, &kubeadm)?;
    let images = runtime.block_on(async {
        let mut images = BTreeMap::new();
        for reference in references.into_values() {
            let digest = manifest_digest(&mirrors.image(&reference, None)?, options).await?;
            images.insert(reference, digest);
        }
        Ok::<_, Error>(images)
    })?;
    Ok(Release { files, images })
}

/// The `old` pins that still apply to `provider`: those of files with the same URL, and those of images if kubeadm, which
/// lists them, has not changed. `None` if no pin is left.
pub(in crate::inputs) fn kept(
    old: Option<Release>,
    provider: &Provider,
    architecture: &str,
) -> Option<Release> {
    let urls = Locations::new(provider, &BTreeSet::new(), architecture)
        .ok()?
        .files;
    let mut release = old?;
    release
        .files
        .retain(|name, file| urls.get(name) == Some(&file.url));
    if !release.files.contains_key(KUBEADM) {
        release.images.clear();
    }
    let is_empty = release.files.is_empty() && release.images.is_empty();
    (!is_empty).then_some(release)
}

/// True if all files of `provider`, and images, are pinned.
pub(in crate::inputs) fn is_complete(release: &Release, provider: &Provider, architecture: &str) -> bool {
    let locations = Locations::new(provider, &BTreeSet::new(), architecture);
    let has_files = locations.is_ok_and(|locations| {
        let mut names = locations.files.keys();
        names.all(|name| release.files.contains_key(name))
    });
    has_files && !release.images.is_empty()
}

async fn file_digests(
    urls: BTreeMap<String, String>,
    mirrors: &ReleaseMirrors,
    options: &Options,
) -> Result<BTreeMap<String, PinnedFile>, ReleaseError> {
    let web = web_client(options)?;
    let mut files = BTreeMap::new();
    for (name, url) in urls {
        let digest = published_digest(&web, &url, mirrors).await?;
        files.insert(name, PinnedFile { url, digest });
    }
    Ok(files)
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
