//! Pinning what is published: digests of files from beside them, digests of images from their registry.

use std::collections::{BTreeMap, BTreeSet};

use parbake_artifact::Digest;
use parbake_artifact::registry::{Options, manifest_digest};
use parbake_machine::fs::files::failed;
use tokio::runtime::Runtime;

use super::super::cache::Locked;
use super::super::error::Error;
use super::super::images::references;
use super::download::download_file;
use super::http::WebClient;
use super::plan::places;
use super::{ReleaseError, ReleaseMirrors};
use crate::provider::Provider;
use crate::provider::lock::{PinnedFile, Release};

/// What lists the images.
const KUBEADM: &str = "kubeadm";
/// What the names of files with digests end with: those of Kubernetes and its tools, then that of containerd.
const DIGESTS: [&str; 2] = [".sha256", ".sha256sum"];

/// Finds out the digests of all that `provider` takes from source `release`. kubeadm is fetched for it and says which
/// images it asks for.
///
/// # Errors
/// What is not published, or cannot be had.
pub(in crate::inputs) fn pin(
    provider: &Provider,
    architecture: &str,
    mirrors: &ReleaseMirrors,
    options: &Options,
    cache: &Locked,
) -> Result<Release, Error> {
    let what = format!("pin what is published for {}", provider.name);
    let _step = tracing::info_span!("step", what).entered();
    let (urls, _) = places(provider, &BTreeSet::new(), architecture)?;
    let threads = Runtime::new().map_err(failed("start threads for", &provider.dir))?;
    let files = threads.block_on(digests(urls, mirrors, options))?;
    let kubeadm = files.get(KUBEADM).ok_or_else(|| ReleaseError::NoPlace {
        binary: KUBEADM.to_owned(),
    })?;
    let kubeadm = download_file(KUBEADM, kubeadm, mirrors, options, cache)?;
    let references = references(provider, &kubeadm)?;
    let images = threads.block_on(async {
        let mut images = BTreeMap::new();
        for reference in references.into_values() {
            let digest = manifest_digest(&mirrors.image(&reference, None)?, options).await?;
            images.insert(reference, digest);
        }
        Ok::<_, Error>(images)
    })?;
    Ok(Release { files, images })
}

/// Those of the `old` pins that are still of what `provider` takes.
pub(in crate::inputs) fn kept(
    old: Option<Release>,
    provider: &Provider,
    architecture: &str,
) -> Option<Release> {
    let (urls, _) = places(provider, &BTreeSet::new(), architecture).ok()?;
    old.filter(|old| {
        let mut urls = urls.iter();
        urls.all(|(name, url)| old.files.get(name).is_some_and(|file| file.url == *url))
    })
}

async fn digests(
    urls: BTreeMap<String, String>,
    mirrors: &ReleaseMirrors,
    options: &Options,
) -> Result<BTreeMap<String, PinnedFile>, Error> {
    let http = WebClient::new(options)?;
    let mut files = BTreeMap::new();
    for (name, url) in urls {
        let digest = digest(&http, &url, mirrors).await?;
        files.insert(name, PinnedFile { url, digest });
    }
    Ok(files)
}

/// The digest in a file beside `url`.
async fn digest(http: &WebClient, url: &str, mirrors: &ReleaseMirrors) -> Result<Digest, Error> {
    let [first, second] = DIGESTS.map(|end| mirrors.file(&format!("{url}{end}")));
    let (first, second) = (first?, second?);
    let (beside, text) = match http.text(&first).await {
        // What is said of the usual place is more of a help.
        Err(Error::Release(missing @ ReleaseError::Missing { .. })) => {
            let text = http.text(&second).await;
            (second, text.map_err(|_| missing)?)
        }
        text => (first, text?),
    };
    let digest = first_digest(&text);
    digest.ok_or_else(|| {
        let url = beside.to_string();
        ReleaseError::NoDigest { url }.into()
    })
}

/// The digest in a file as `sha256sum` writes it, or with the digest alone.
pub(super) fn first_digest(text: &str) -> Option<Digest> {
    let first = text.split_whitespace().next()?;
    format!("sha256:{}", first.to_ascii_lowercase()).parse().ok()
}
