//! Signatures that cosign makes and checks (cosign, `specs/SIGNATURE_SPEC.md`), with key pairs: ECDSA on P-256 with
//! SHA-256. No service on the network has a part in it.
//!
//! What is signed is a small text that names the artifact's manifest by its digest, and so all that it refers to:
//!
//! ```text
//! {"critical": {"identity": {"docker-reference": "REGISTRY/REPOSITORY"},
//!               "image": {"docker-manifest-digest": "sha256:HEX"},
//!               "type": "cosign container image signature"},
//!  "optional": {"dev.parbake.attached.MEDIA-TYPE": "sha256:HEX"}}      documents beside it, by their manifests
//! ```
//!
//! All signatures of an artifact are the layers of one manifest, with the tag `sha256-HEX.sig` in its repository.

mod key;
mod manifest;
mod payload;

pub use key::{KeyError, PrivateKey, PublicKey};
pub(crate) use manifest::{MAX_PAYLOAD, MEDIA_TYPE, SignatureManifest};
pub(crate) use payload::Payload;

/// How keys are named in `optional` that say which documents were beside the artifact; the media type comes after it.
pub(crate) const ATTACHED_CLAIM: &str = "dev.parbake.attached.";

/// A signature that is good: whose, and of which documents besides the artifact itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// Which of the keys made it, by its place in the list that was given.
    pub key: usize,
    /// Digests of the manifests of documents that it covers too.
    pub documents: Vec<crate::digest::Digest>,
}
