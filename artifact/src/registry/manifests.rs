//! Manifests by tag or digest, and the lists of manifests that refer to another one.

use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use super::RegistryError;
use super::client::Request;
use super::repository::{Repository, header};
use crate::digest::Digest;
use crate::http::{HttpError, retry};
use crate::manifest::canonical_json;
use crate::referrers::MANIFEST_MEDIA_TYPE;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A registry that lists referrers itself answers with this header (OCI distribution-spec 1.1, "Pushing Manifests with
/// Subject").
const SUBJECT_HEADER: &str = "OCI-Subject";

impl Repository {
    /// The bytes of the manifest with this tag or digest; `None` if there is none, or none that may be read.
    pub(super) async fn find_manifest(&self, which: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let action = format!("read the manifest `{which}`");
        let bytes = retry(|| self.get_manifest(which, &action)).await;
        self.check_found(which, bytes)
    }

    /// Like [`Repository::find_manifest`], without retries.
    pub(super) async fn try_find_manifest(&self, which: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let action = format!("read the manifest `{which}`");
        let bytes = self.get_manifest(which, &action).await;
        self.check_found(which, bytes)
    }

    fn check_found(
        &self,
        which: &str,
        bytes: Result<Vec<u8>, HttpError>,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let bytes = match bytes {
            // Registries reject tags that they do not have in different ways.
            Err(error) if error.status().is_some() && !error.is_transient() => return Ok(None),
            bytes => bytes?,
        };
        let found = Digest::of(&bytes);
        match which.parse::<Digest>() {
            Ok(expected) if expected != found => Err(RegistryError::WrongManifest {
                reference: self.reference.pinned(&expected).to_string(),
                found,
            }),
            _ => Ok(Some(bytes)),
        }
    }

    /// The manifests that refer to the manifest `subject` (OCI distribution-spec 1.1, "Listing Referrers"), from the referrers API or from
    /// the index that clients keep under a tag. Only the first page is read, which is ample for baked artifacts.
    pub(super) async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let (path, action) = (self.path("referrers", subject.as_str()), "list referrers");
        let listed = retry(|| async {
            let mut request = Request::new(Method::GET, &path, action);
            request.headers.insert(ACCEPT, HeaderValue::from_static(INDEX));
            let response = self.client.send(request).await?;
            self.read_document(response, "referrers", action).await
        });
        let index = match listed.await {
            Ok(bytes) => parse_index(&bytes),
            // Registries without the API answer in different ways, even with 500.
            Err(error) if error.status().is_some() => None,
            Err(error) => return Err(error.into()),
        };
        let index = match index {
            Some(index) => Some(index),
            None => {
                let bytes = self.find_manifest(&fallback_tag(subject)).await?;
                bytes.and_then(|bytes| parse_index(&bytes))
            }
        };
        Ok(index.map(|index| index.manifests().clone()).unwrap_or_default())
    }

    /// Sends a manifest that refers to `subject`, and lists it there if the registry does not.
    pub(super) async fn put_referrer(
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
        let known = self
            .find_manifest(&tag)
            .await?
            .and_then(|bytes| parse_index(&bytes));
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

    /// Sends a manifest under a tag or its digest. True if the registry lists the manifest as a referrer itself.
    pub(super) async fn put_manifest(
        &self,
        which: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<bool, HttpError> {
        let (path, action) = (
            self.path("manifests", which),
            format!("take the manifest `{which}` of the type `{media_type}`"),
        );
        retry(|| async {
            let mut request = Request::new(Method::PUT, &path, &action);
            request.headers.extend(header(CONTENT_TYPE, media_type));
            request.body = bytes.to_vec();
            let response = self.client.send(request).await?;
            Ok(response.headers().contains_key(SUBJECT_HEADER))
        })
        .await
    }
}

/// The tag of the index of referrers (OCI distribution-spec 1.1, "Referrers Tag Schema").
fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// `None` for anything but an index: other tools may use the tag.
fn parse_index(bytes: &[u8]) -> Option<ImageIndex> {
    serde_json::from_slice(bytes).ok()
}
