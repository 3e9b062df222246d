//! All the places where an artifact may be read.

use std::collections::VecDeque;
use std::iter::once;

use super::client::Repository;
use super::mirrors::{Places, places};
use super::retry::in_a_line;
use super::{Options, RegistryError};
use crate::digest::Digest;
use crate::reference::Reference;
use crate::store::StoreError;

/// The mirrors, in the order in which to try them, and the registry that counts when they fail.
pub(super) struct Sources {
    mirrors: VecDeque<Repository>,
    own: Repository,
}

impl Sources {
    /// Prepares. Whether there is TLS is said by the options for the registry itself, by the host for its mirrors.
    pub(super) async fn new(reference: &Reference, options: &Options) -> Result<Self, RegistryError> {
        let Places { mirrors, own } = places(reference)?;
        let with_tls = Options {
            plain_http: false,
            ..options.clone()
        };
        let mut prepared = VecDeque::new();
        for mirror in &mirrors {
            prepared.push_back(Repository::to_pull(mirror, &with_tls).await?);
        }
        Ok(Self {
            mirrors: prepared,
            own: Repository::to_pull(&own, options).await?,
        })
    }

    /// The first one, and the others.
    pub(super) fn in_order(&self) -> (&Repository, impl Iterator<Item = &Repository>) {
        let mut all = self.mirrors.iter().chain(once(&self.own));
        (all.next().unwrap_or(&self.own), all)
    }

    /// The manifest's exact bytes and their digest. Mirrors that do not have it are not asked for blobs.
    pub(super) async fn manifest(&mut self) -> Result<(Vec<u8>, Digest), RegistryError> {
        while let Some(mirror) = self.mirrors.front() {
            // There is somebody else to ask, so this one is not waited for.
            match mirror.try_manifest().await {
                Ok(found) => return Ok(found),
                Err(error) => pass_over(mirror, error)?,
            }
            self.mirrors.pop_front();
        }
        self.own.manifest().await
    }
}

/// Says that another place will be tried.
///
/// # Errors
/// The error itself, when no other place will help.
pub(super) fn pass_over(source: &Repository, error: RegistryError) -> Result<(), RegistryError> {
    let wrong_bytes = matches!(error, RegistryError::Store(StoreError::WrongBlob { .. }));
    if matches!(error, RegistryError::Store(_)) && !wrong_bytes {
        return Err(error);
    }
    tracing::warn!(
        "{}; trying the next place after `{}`",
        in_a_line(&error),
        source.reference
    );
    Ok(())
}
