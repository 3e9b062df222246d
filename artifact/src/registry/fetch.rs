//! One blob, from a registry into the store: in pieces, if it must be.

use std::io;
use std::sync::Arc;

use reqwest::Response;
use tokio::task::spawn_blocking;

use super::client::Repository;
use super::progress::Progress;
use super::retry::Backoff;
use super::sources::{Sources, pass_over};
use super::{RegistryError, joined};
use crate::manifest::BlobRef;
use crate::store::{PartialBlob, Store, StoreError, WholeBlob};

const RANGE_NOT_SATISFIABLE: u16 = 416;

/// Gets a blob from the first place that has it, unless the store does.
///
/// # Errors
/// [`StoreError::WrongBlob`] when the last place has other bytes than the digest says; nothing is kept then.
pub(super) async fn fetch(
    sources: &Sources,
    store: &Arc<Store>,
    blob: &BlobRef,
    what: &str,
    progress: &Progress,
) -> Result<(), RegistryError> {
    let (opener, wanted) = (Arc::clone(store), blob.clone());
    let open = move || opener.partial_blob(&wanted.digest, wanted.size);
    match whole(sources, blob, what, progress, open).await? {
        Some(whole) => joined(spawn_blocking(move || whole.keep()).await)?,
        None => progress.skipped(blob.size),
    }
    Ok(())
}

/// Gets a delta that is to make `blob`, unless the store has that: `None` then.
///
/// # Errors
/// As for [`fetch`].
pub(super) async fn fetch_delta(
    sources: &Sources,
    store: &Arc<Store>,
    delta: &BlobRef,
    blob: &BlobRef,
    what: &str,
    progress: &Progress,
) -> Result<Option<WholeBlob>, RegistryError> {
    let (opener, wanted) = (Arc::clone(store), (delta.clone(), blob.clone()));
    let open = move || opener.partial_delta(&wanted.0, &wanted.1);
    whole(sources, delta, what, progress, open).await
}

/// Gets all of a blob from the first place that has it, into what `open` opens.
async fn whole<O>(
    sources: &Sources,
    blob: &BlobRef,
    what: &str,
    progress: &Progress,
    open: O,
) -> Result<Option<WholeBlob>, RegistryError>
where
    O: Fn() -> Result<Option<PartialBlob>, StoreError> + Clone + Send + 'static,
{
    let (mut repository, mut others) = sources.in_order();
    let mut skipped = None;
    loop {
        let Some(mut partial) = joined(spawn_blocking(open.clone()).await)? else {
            return Ok(None);
        };
        let was_there = partial.length();
        // What came only now from another place was counted then.
        if skipped.is_none() {
            progress.skipped(*skipped.insert(was_there));
        }
        let fetching = Fetch {
            repository,
            blob,
            what,
            progress,
        };
        let outcome = match fetching.complete(&mut partial).await {
            Ok(()) => joined(spawn_blocking(move || partial.finish()).await).map_err(RegistryError::from),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(whole) => return Ok(Some(whole)),
            // What an earlier process left may have been the wrong part; all of it is gone now.
            Err(RegistryError::Store(StoreError::WrongBlob { .. })) if was_there > 0 => {}
            Err(error) => {
                let Some(next) = others.next() else {
                    return Err(error);
                };
                pass_over(repository, error)?;
                repository = next;
            }
        }
    }
}

struct Fetch<'a> {
    repository: &'a Repository,
    blob: &'a BlobRef,
    what: &'a str,
    progress: &'a Progress,
}

impl Fetch<'_> {
    /// Gets what is missing, and tries again where that helps.
    async fn complete(&self, partial: &mut PartialBlob) -> Result<(), RegistryError> {
        let mut backoff = Backoff::default();
        let mut furthest = partial.length();
        while partial.length() < self.blob.size {
            let before = partial.length();
            let Err(error) = self.receive(partial).await else {
                continue;
            };
            // Not what was there before and had to be fetched again, or it might go on for ever.
            if partial.length() > furthest {
                furthest = partial.length();
                backoff.reset();
            }
            let no_such_range = matches!(
                error,
                RegistryError::Length { .. }
                    | RegistryError::Status {
                        status: RANGE_NOT_SATISFIABLE,
                        ..
                    }
            );
            if no_such_range && before > 0 {
                // Some registries cannot go on in the middle; from the start it is clear what they have.
                partial.restart()?;
                backoff.at_once(error)?;
            } else {
                backoff.wait(error).await?;
            }
        }
        Ok(())
    }

    /// Gets as much as comes of what is missing.
    async fn receive(&self, partial: &mut PartialBlob) -> Result<(), RegistryError> {
        let mut response = self.open(partial).await?;
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.repository.broken(&self.act(), error))?
        {
            let length = partial.length() + chunk.len() as u64;
            self.progress.transferred(chunk.len() as u64);
            if length > self.blob.size {
                return Err(self.wrong_length(length));
            }
            partial.append(&chunk)?;
        }
        if partial.length() < self.blob.size {
            return Err(RegistryError::Broken {
                registry: self.repository.registry(),
                act: self.act(),
                source: io::ErrorKind::UnexpectedEof.into(),
            });
        }
        Ok(())
    }

    async fn open(&self, partial: &mut PartialBlob) -> Result<Response, RegistryError> {
        let body = self
            .repository
            .blob(&self.blob.digest, partial.length(), &self.act())
            .await?;
        if body.start != partial.length() {
            partial.restart()?;
        }
        match body.length {
            Some(length) if body.start.saturating_add(length) != self.blob.size => {
                Err(self.wrong_length(body.start.saturating_add(length)))
            }
            _ => Ok(body.response),
        }
    }

    fn act(&self) -> String {
        format!("send {}", self.what)
    }

    fn wrong_length(&self, found: u64) -> RegistryError {
        RegistryError::Length {
            registry: self.repository.registry(),
            what: self.what.to_owned(),
            found,
            size: self.blob.size,
        }
    }
}
