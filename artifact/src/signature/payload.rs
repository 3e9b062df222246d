//! The signed payload (cosign, `specs/SIGNATURE_SPEC.md`, "Simple Signing").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ATTACHED_CLAIM;
use crate::digest::Digest;
use crate::manifest::canonical_json;

/// Atomic's signatures have another type.
const TYPE: &str = "cosign container image signature";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Payload {
    critical: Critical,
    /// Optional claims.
    #[serde(default)]
    optional: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    /// Where it was signed. Not checked, since artifacts are copied with their signatures.
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

impl Payload {
    /// The payload for the manifest with this digest in the repository `REGISTRY/REPOSITORY`, and for documents by media type
    /// and digest.
    pub(crate) fn new(repository: &str, manifest: &Digest, documents: &[(String, Digest)]) -> Self {
        let claim = |(kind, digest): &(String, Digest)| {
            let digest = Value::String(digest.to_string());
            (format!("{ATTACHED_CLAIM}{kind}"), digest)
        };
        Self {
            critical: Critical {
                identity: Identity {
                    docker_reference: repository.to_owned(),
                },
                image: Image {
                    docker_manifest_digest: manifest.to_string(),
                },
                kind: TYPE.to_owned(),
            },
            optional: (!documents.is_empty()).then(|| documents.iter().map(claim).collect()),
        }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        canonical_json(self)
    }

    /// Parses a payload; `None` if it is not one for this manifest.
    pub(crate) fn for_manifest(bytes: &[u8], manifest: &Digest) -> Option<Self> {
        let payload: Self = serde_json::from_slice(bytes).ok()?;
        let critical = &payload.critical;
        let is_for_manifest =
            critical.kind == TYPE && critical.image.docker_manifest_digest == manifest.as_str();
        is_for_manifest.then_some(payload)
    }

    /// Digests of the documents that it covers.
    pub(crate) fn documents(&self) -> Vec<Digest> {
        let claims = self.optional.iter().flatten();
        claims
            .filter(|(name, _)| name.starts_with(ATTACHED_CLAIM))
            .filter_map(|(_, digest)| digest.as_str()?.parse().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Payload;
    use crate::digest::Digest;

    #[test]
    fn payloads_are_those_of_cosign() {
        let (manifest, sbom) = (Digest::of(b"manifest"), Digest::of(b"sbom"));
        let plain = Payload::new("example.org/k8s", &manifest, &[]).to_json();
        let expected = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"example.org/k8s"}},"image":{{"docker-manifest-digest":"{manifest}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        assert_eq!(String::from_utf8(plain.clone()).unwrap(), expected);
        let more = Payload::new("example.org/k8s", &manifest, &[("a/b".to_owned(), sbom.clone())]);
        let read = Payload::for_manifest(&more.to_json(), &manifest).unwrap();
        assert_eq!((read.documents(), &read), (vec![sbom], &more));
        assert!(
            Payload::for_manifest(&plain, &manifest)
                .unwrap()
                .documents()
                .is_empty()
        );
    }

    #[test]
    fn payloads_of_other_manifests_and_types_are_rejected() {
        let manifest = Digest::of(b"manifest");
        let text = String::from_utf8(Payload::new("a", &manifest, &[]).to_json()).unwrap();
        assert!(Payload::for_manifest(text.as_bytes(), &Digest::of(b"other")).is_none());
        let atomic = text.replace("cosign container", "atomic container");
        assert!(Payload::for_manifest(atomic.as_bytes(), &manifest).is_none());
        assert!(Payload::for_manifest(b"{}", &manifest).is_none());
        // cosign can add claims that are not strings.
        let more = text.replace("null", r#"{"timestamp": 1}"#);
        assert!(Payload::for_manifest(more.as_bytes(), &manifest).is_some());
    }
}
