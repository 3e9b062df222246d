//! Manifests beside the one that a reference means, by tag or digest, and lists of those that refer to it.

use oci_client::RegistryOperation;
use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, StatusCode};

use super::RegistryError;
use super::client::Repository;
use super::retry::retrying;
use crate::attached::MANIFEST_MEDIA_TYPE;
use crate::digest::Digest;
use crate::manifest::canonical_json;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// By this header of its answer a registry says that it lists referrers itself (OCI distribution-spec 1.1, "Pushing
/// Manifests with Subject").
const SUBJECT_HEADER: &str = "OCI-Subject";
/// What a registry without the referrers API may answer when it is asked for one.
const NO_SUCH_API: [StatusCode; 3] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
];

impl Repository {
    /// The exact bytes of the manifest with this tag or digest; `None` when there is none, or whoever asks may not know.
    pub(super) async fn find_manifest(&self, which: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let found = retrying(|| async {
            let accept = format!("{MANIFEST_MEDIA_TYPE}, {INDEX}");
            let path = format!("manifests/{which}");
            let request = self.request(Method::GET, &path, RegistryOperation::Pull);
            let response = self.answer(request.await?.header(ACCEPT, accept), &path).await?;
            if response.status() != StatusCode::OK {
                return Err(self.refused(format!("read {path}"), &response));
            }
            self.bounded(response).await
        });
        let bytes = match found.await {
            Ok(bytes) => bytes,
            Err(RegistryError::NotFound { .. } | RegistryError::Denied { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let digest = Digest::of(&bytes);
        match which.parse::<Digest>() {
            Ok(expected) if expected != digest => Err(RegistryError::WrongManifest {
                reference: self.reference.pinned(&expected).to_string(),
                found: digest,
            }),
            _ => Ok(Some(bytes)),
        }
    }

    /// What refers to the manifest `subject` (OCI distribution-spec 1.1, "Listing Referrers"): a registry that cannot
    /// tell has a list under a tag, if somebody made one. Only the first page: what was baked has two.
    pub(super) async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let listed = retrying(|| async {
            let path = format!("referrers/{subject}");
            let request = self.request(Method::GET, &path, RegistryOperation::Pull);
            let response = self.answer(request.await?.header(ACCEPT, INDEX), &path).await?;
            match response.status() {
                StatusCode::OK => self.bounded(response).await.map(Some),
                status if NO_SUCH_API.contains(&status) => Ok(None),
                _ => Err(self.refused(format!("list {path}"), &response)),
            }
        });
        let listed = match listed.await {
            Err(RegistryError::Denied { .. }) => None,
            listed => listed?,
        };
        if let Some(index) = listed.and_then(|bytes| parse(&bytes)) {
            return Ok(index.manifests().clone());
        }
        let index = self.find_manifest(&fallback_tag(subject)).await?;
        Ok(index
            .and_then(|bytes| parse(&bytes))
            .map(|index| index.manifests().clone())
            .unwrap_or_default())
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
        retrying(|| async {
            let path = format!("manifests/{which}");
            let request = self.request(Method::PUT, &path, RegistryOperation::Push).await?;
            let request = request.header(CONTENT_TYPE, media_type).body(bytes.to_vec());
            let response = self.answer(request, &path).await?;
            if !response.status().is_success() {
                return Err(self.refused(format!("take {path}"), &response));
            }
            Ok(response.headers().contains_key(SUBJECT_HEADER))
        })
        .await
    }

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        path: &str,
    ) -> Result<reqwest::Response, RegistryError> {
        let answer = request.send().await;
        answer.map_err(|error| self.failed(format!("answer for {path}"), error.into()))
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
