//! Manifests beside the one that a reference means, by tag or digest, and lists of those that refer to it.

use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::RegistryError;
use super::client::{MANIFESTS, Repository, headers};
use super::retry::retrying;
use crate::digest::Digest;
use crate::manifest::{BlobRef, canonical_json};
use crate::referrers::MANIFEST_MEDIA_TYPE;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// By this header of its answer a registry says that it lists referrers itself (OCI distribution-spec 1.1, "Pushing
/// Manifests with Subject").
const SUBJECT_HEADER: &str = "OCI-Subject";

impl Repository {
    /// The exact bytes of the manifest with this tag or digest; `None` when there is none, or whoever asks may not know.
    pub(super) async fn find_manifest(&self, which: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        retrying(|| self.try_find_manifest(which)).await
    }

    /// The same, but gives up when that fails.
    pub(super) async fn try_find_manifest(&self, which: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let act = format!("read the manifest {which}");
        let accept = headers([(ACCEPT, MANIFESTS.to_owned())]);
        let path = self.path("manifests", which);
        let response = match self.connection.ask(Method::GET, &path, accept, &act).await {
            Err(RegistryError::NotFound { .. } | RegistryError::Denied { .. }) => return Ok(None),
            response => response?,
        };
        let bytes = self.bounded(response, &act).await?;
        let found = Digest::of(&bytes);
        match which.parse::<Digest>() {
            Ok(expected) if expected != found => Err(RegistryError::WrongManifest {
                reference: self.reference.pinned(&expected).to_string(),
                found,
            }),
            _ => Ok(Some(bytes)),
        }
    }

    /// What refers to the manifest `subject` (OCI distribution-spec 1.1, "Listing Referrers"): a registry that cannot
    /// tell has a list under a tag, if somebody made one. Only the first page: what was baked has two.
    pub(super) async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let listed = retrying(|| async {
            let (path, act) = (self.path("referrers", subject.as_str()), "list referrers");
            let accept = headers([(ACCEPT, INDEX.to_owned())]);
            match self.connection.ask(Method::GET, &path, accept, act).await {
                Ok(response) => self.bounded(response, act).await.map(Some),
                // Ways to say that it knows no such thing.
                Err(
                    RegistryError::NotFound { .. }
                    | RegistryError::Denied { .. }
                    | RegistryError::Status {
                        status: 400 | 405, ..
                    },
                ) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let index = match listed.await?.and_then(|bytes| parse(&bytes)) {
            Some(index) => Some(index),
            None => {
                let index = self.find_manifest(&fallback_tag(subject)).await?;
                index.and_then(|bytes| parse(&bytes))
            }
        };
        Ok(index.map(|index| index.manifests().clone()).unwrap_or_default())
    }

    /// Sends a manifest that refers to `subject`, and lists it there if the registry does not do so by itself.
    pub(super) async fn send_referrer(
        &self,
        subject: &Digest,
        referrer: Descriptor,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let digest = referrer.digest().to_string();
        if self.put_manifest(&digest, MANIFEST_MEDIA_TYPE, bytes).await? {
            return Ok(());
        }
        let tag = fallback_tag(subject);
        let known = self.find_manifest(&tag).await?.and_then(|bytes| parse(&bytes));
        let mut manifests = known.map(|index| index.manifests().clone()).unwrap_or_default();
        if manifests.iter().any(|other| other.digest() == referrer.digest()) {
            return Ok(());
        }
        manifests.push(referrer);
        let index = ImageIndexBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageIndex)
            .manifests(manifests)
            .build()
            .expect("all required fields are set above");
        self.put_manifest(&tag, INDEX, &canonical_json(&index)).await?;
        Ok(())
    }

    /// Sends a manifest under a tag or its digest. Whether the registry knows what it refers to.
    pub(super) async fn put_manifest(
        &self,
        which: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<bool, RegistryError> {
        let (path, act) = (
            self.path("manifests", which),
            format!("take the manifest {which}"),
        );
        let headers = headers([(CONTENT_TYPE, media_type.to_owned())]);
        retrying(|| async {
            let put = self.connection.put(&path, headers.clone(), bytes, &act);
            Ok(put.await?.headers().contains_key(SUBJECT_HEADER))
        })
        .await
    }

    /// A small blob; `None` when the registry has other bytes than its digest says.
    pub(super) async fn small_blob(
        &self,
        blob: &BlobRef,
        what: &str,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let act = format!("send the {what}");
        retrying(|| async {
            let body = self.blob(&blob.digest, 0, &act).await?;
            let bytes = self.bounded(body.response, &act).await?;
            Ok(Some(bytes).filter(|bytes| Digest::of(bytes) == blob.digest))
        })
        .await
    }
}

/// The tag with the list of referrers (OCI distribution-spec 1.1, "Referrers Tag Schema").
fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// What is no index lists nothing: the tag may be anybody's.
fn parse(bytes: &[u8]) -> Option<ImageIndex> {
    serde_json::from_slice(bytes).ok()
}
