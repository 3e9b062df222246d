//! Measuring the registry and the network alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::repository::RemoteBlob;
use super::sources::Sources;
use super::{Options, PARALLEL_TRANSFERS, RegistryError, joined};
use crate::digest::Digest;
use crate::http::{HttpError, RangeSource};
use crate::manifest::Manifest;
use crate::reference::Reference;

/// Downloads every blob of an artifact as [`pull`](super::pull()) does, as many in parallel, and keeps nothing. Returns the
/// number of bytes.
///
/// # Errors
/// The first failure; there are no retries.
pub async fn download_and_discard(reference: &Reference, options: &Options) -> Result<u64, RegistryError> {
    let mut sources = Sources::new(reference, options).await?;
    let (bytes, _) = sources.manifest().await?;
    let sources = Arc::new(sources);
    let manifest =
        Manifest::from_json(&bytes).map_err(|source| RegistryError::unusable(reference, source))?;
    let blobs: BTreeMap<_, _> = manifest.blobs().map(|blob| (&blob.digest, blob.size)).collect();
    let mut largest_first: Vec<(&Digest, u64)> = blobs.into_iter().collect();
    largest_first.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let permits = Arc::new(Semaphore::new(PARALLEL_TRANSFERS));
    let mut tasks = JoinSet::new();
    for (digest, _) in largest_first {
        let (sources, permits, digest) = (Arc::clone(&sources), Arc::clone(&permits), digest.clone());
        tasks.spawn(async move {
            let _permit = permits.acquire().await;
            receive(&sources, &digest).await
        });
    }
    let mut total = 0;
    while let Some(outcome) = tasks.join_next().await {
        total += joined(outcome)?;
    }
    Ok(total)
}

async fn receive(sources: &Sources, digest: &Digest) -> Result<u64, HttpError> {
    let (repository, _) = sources.in_order();
    let remote = RemoteBlob {
        repository,
        digest,
        what: digest.as_str(),
    };
    let mut response = remote.open(0).await?.response;
    let broken = |error: reqwest::Error| remote.server().interrupted("send a blob", error.without_url());
    let mut length = 0;
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        length += chunk.len() as u64;
    }
    Ok(length)
}
