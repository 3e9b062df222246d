//! All locations that an artifact or image can be read from.

use std::collections::VecDeque;
use std::iter::once;

use super::mirrors::{Locations, locations};
use super::progress::Progress;
use super::repository::{RemoteBlob, Repository};
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::http::{CompleteFile, Expected, HttpError, PartialFile, Size, download, one_line};
use crate::manifest::BlobRef;
use crate::reference::Reference;

/// The mirrors, in the order in which they are tried, and the registry itself.
pub(super) struct Sources {
    mirrors: VecDeque<Repository>,
    primary: Repository,
}

impl Sources {
    /// Prepares to read. [`Options::plain_http`] is for the registry itself only; the host's configuration says which
    /// mirrors have no TLS.
    pub(super) async fn new(reference: &Reference, options: &Options) -> Result<Self, RegistryError> {
        let Locations { mirrors, primary } = locations(reference)?;
        let with_tls = Options {
            plain_http: false,
            ..options.clone()
        };
        let mut repositories = VecDeque::new();
        for mirror in &mirrors {
            repositories.push_back(Repository::to_pull(mirror, &with_tls).await?);
        }
        Ok(Self {
            mirrors: repositories,
            primary: Repository::to_pull(&primary, options).await?,
        })
    }

    /// The first repository, and the others.
    pub(super) fn in_order(&self) -> (&Repository, impl Iterator<Item = &Repository>) {
        let mut all = self.mirrors.iter().chain(once(&self.primary));
        (all.next().unwrap_or(&self.primary), all)
    }

    /// The bytes of the manifest, and their digest. Mirrors without it are removed, so that they are not asked for blobs.
    pub(super) async fn manifest(&mut self) -> Result<(Vec<u8>, Digest), RegistryError> {
        while let Some(mirror) = self.mirrors.front() {
            // No retries, since there is another repository to ask.
            match mirror.try_manifest().await {
                Ok(found) => return Ok(found),
                Err(error) => pass_over(mirror, error)?,
            }
            self.mirrors.pop_front();
        }
        self.primary.manifest().await
    }

    /// Downloads a blob from the first repository that has it, and continues in the next one where a mirror fails.
    pub(super) async fn download(
        &self,
        file: &mut PartialFile,
        blob: &BlobRef,
        what: &str,
        progress: &Progress,
    ) -> Result<CompleteFile, RegistryError> {
        let expected = Expected {
            what,
            digest: &blob.digest,
            size: Size::Exactly(blob.size),
        };
        let (mut repository, mut others) = self.in_order();
        loop {
            let remote = RemoteBlob {
                repository,
                digest: &blob.digest,
                what,
            };
            match (download(&remote, file, &expected, progress).await, others.next()) {
                (Ok(file), _) => return Ok(file),
                (Err(error), None) => return Err(error.into()),
                (Err(error), Some(next)) => {
                    pass_over(repository, error.into())?;
                    repository = next;
                }
            }
        }
    }
}

/// Reports that the next location is tried.
///
/// # Errors
/// `error`, if it is a failure of this host.
pub(super) fn pass_over(repository: &Repository, error: RegistryError) -> Result<(), RegistryError> {
    if matches!(
        error,
        RegistryError::Store(_) | RegistryError::Http(HttpError::File { .. })
    ) {
        return Err(error);
    }
    tracing::warn!(
        "{}; trying the next location after `{}`",
        one_line(&error),
        repository.reference
    );
    Ok(())
}
