//! The way from the registry alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::sources::Sources;
use super::{Options, RegistryError, SIDE_BY_SIDE, joined};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::reference::Reference;

/// Gets every blob of an artifact as [`pull`](super::pull()) does, as many at a time, and keeps nothing: how fast the
/// registry and the way from it are. Gives back how many bytes came.
///
/// # Errors
/// The first thing that goes wrong; nothing is tried twice.
pub async fn download_and_discard(reference: &Reference, options: &Options) -> Result<u64, RegistryError> {
    let mut sources = Sources::new(reference, options).await?;
    let (bytes, _) = sources.manifest().await?;
    let sources = Arc::new(sources);
    let manifest =
        Manifest::from_json(&bytes).map_err(|source| RegistryError::unusable(reference, source))?;
    let blobs: BTreeMap<_, _> = manifest.blobs().map(|blob| (&blob.digest, blob.size)).collect();
    let mut largest_first: Vec<(&Digest, u64)> = blobs.into_iter().collect();
    largest_first.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let turns = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut tasks = JoinSet::new();
    for (digest, _) in largest_first {
        let (sources, turns, digest) = (Arc::clone(&sources), Arc::clone(&turns), digest.clone());
        tasks.spawn(async move {
            let _turn = turns.acquire().await;
            receive(&sources, &digest).await
        });
    }
    let mut total = 0;
    while let Some(outcome) = tasks.join_next().await {
        total += joined(outcome)?;
    }
    Ok(total)
}

async fn receive(sources: &Sources, digest: &Digest) -> Result<u64, RegistryError> {
    let (repository, _) = sources.in_order();
    let act = format!("send {digest}");
    let mut response = repository.blob(digest, 0, &act).await?.response;
    let mut length = 0;
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| repository.broken(&act, error))?
    {
        length += chunk.len() as u64;
    }
    Ok(length)
}
