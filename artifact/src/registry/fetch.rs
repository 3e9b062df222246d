//! Downloading one blob into the store.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::progress::Progress;
use super::sources::Sources;
use super::{RegistryError, joined};
use crate::manifest::BlobRef;
use crate::store::{PartialBlob, Store, WholeBlob};

/// Downloads a blob from the first location that has it, unless it is in the store.
pub(super) async fn fetch(
    sources: &Sources,
    store: &Arc<Store>,
    blob: &BlobRef,
    what: &str,
    progress: &Progress,
) -> Result<(), RegistryError> {
    let (opener, wanted) = (Arc::clone(store), blob.clone());
    let partial = spawn_blocking(move || opener.partial_blob(&wanted.digest, wanted.size));
    match joined(partial.await)? {
        Some(partial) => {
            let whole = complete(sources, partial, blob, what, progress).await?;
            joined(spawn_blocking(move || whole.keep()).await)?;
        }
        None => progress.skipped(blob.size),
    }
    Ok(())
}

/// Downloads a delta from which `blob` is to be rebuilt; `None` if the store has that blob.
pub(super) async fn fetch_delta(
    sources: &Sources,
    store: &Arc<Store>,
    delta: &BlobRef,
    blob: &BlobRef,
    what: &str,
    progress: &Progress,
) -> Result<Option<WholeBlob>, RegistryError> {
    let (opener, wanted) = (Arc::clone(store), (delta.clone(), blob.clone()));
    let partial = spawn_blocking(move || opener.partial_delta(&wanted.0, &wanted.1));
    match joined(partial.await)? {
        Some(partial) => complete(sources, partial, delta, what, progress).await.map(Some),
        None => Ok(None),
    }
}

async fn complete(
    sources: &Sources,
    mut partial: PartialBlob,
    blob: &BlobRef,
    what: &str,
    progress: &Progress,
) -> Result<WholeBlob, RegistryError> {
    progress.skipped(partial.file.length());
    let file = sources.download(&mut partial.file, blob, what, progress).await?;
    Ok(partial.complete(file))
}
