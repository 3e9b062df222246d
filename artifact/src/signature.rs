//! Signatures compatible with cosign (`specs/SIGNATURE_SPEC.md`), made with key pairs: ECDSA on P-256 with SHA-256. No network
//! service is involved.
//!
//! The signed payload names the artifact's manifest by its digest, and thereby everything that it refers to:
//!
//! ```text
//! {"critical": {"identity": {"docker-reference": "REGISTRY/REPOSITORY"},
//!               "image": {"docker-manifest-digest": "sha256:HEX"},
//!               "type": "cosign container image signature"},
//!  "optional": {"dev.parbake.attached.MEDIA-TYPE": "sha256:HEX"}}      documents, by their manifests
//! ```
//!
//! The signatures of an artifact are the layers of one manifest, tagged `sha256-HEX.sig` in its repository. Newer versions of
//! cosign write bundles instead, which are referrers of the artifact and are read here, too.

pub(crate) mod bundle;
mod key;
mod manifest;
mod payload;

pub use key::{KeyError, PrivateKey, PublicKey};
pub(crate) use manifest::{MAX_PAYLOAD, MEDIA_TYPE, SignatureManifest};
pub(crate) use payload::Payload;

/// Prefix of keys in `optional` that name documents; the media type follows.
pub(crate) const ATTACHED_CLAIM: &str = "dev.parbake.attached.";

/// A valid signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// Index of the key that made it.
    pub key: usize,
    /// Digests of the manifests of documents that it covers.
    pub documents: Vec<crate::digest::Digest>,
}
