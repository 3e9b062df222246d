//! Signatures as Sigstore bundles, which newer versions of cosign write (protobuf-specs, `sigstore_bundle.proto`): an
//! in-toto statement about the manifest in a DSSE envelope (secure-systems-lab/dsse, `protocol.md`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::PublicKey;
use crate::digest::Digest;

pub(crate) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The type of statements that are signatures of images.
const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Envelope,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    /// Base64.
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Deserialize)]
struct Signature {
    /// Base64.
    sig: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Debug, Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
}

/// True if a bundle has a signature of the manifest by the key.
pub(crate) fn verifies(bundle: &[u8], key: &PublicKey, manifest: &Digest) -> bool {
    is_signed(bundle, key, manifest).unwrap_or_default()
}

fn is_signed(bundle: &[u8], key: &PublicKey, manifest: &Digest) -> Option<bool> {
    let Bundle {
        dsse_envelope: envelope,
    } = serde_json::from_slice(bundle).ok()?;
    let payload = STANDARD.decode(&envelope.payload).ok()?;
    let message = signed(&envelope.payload_type, &payload);
    let mut signatures = envelope.signatures.iter();
    if envelope.payload_type != PAYLOAD_TYPE
        || !signatures.any(|signature| key.verifies(&message, &signature.sig))
    {
        return Some(false);
    }
    let statement: Statement = serde_json::from_slice(&payload).ok()?;
    let mut digests = statement
        .subject
        .iter()
        .filter_map(|subject| subject.digest.get("sha256"));
    // An attestation about the manifest is not a signature of it.
    Some(statement.predicate_type == PREDICATE_TYPE && digests.any(|hex| hex == manifest.hex()))
}

/// What a signature in an envelope is made of: DSSE's pre-authentication encoding.
fn signed(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let start = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [start.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::verifies;
    use crate::digest::Digest;
    use crate::signature::PublicKey;

    /// Written by cosign 2.6.5.
    const BUNDLE: &str = include_str!("testdata/bundle.json");
    const KEY: &str = include_str!("testdata/bundle.pub");
    const MANIFEST: &str = "sha256:1b22c3eda22db85c1802c8ff42d5f2391012d172f82e083c504a58588dbce289";

    #[test]
    fn bundle_of_cosign_is_valid_for_its_manifest_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pub");
        std::fs::write(&path, KEY).unwrap();
        let key = PublicKey::load(&path).unwrap();
        let manifest: Digest = MANIFEST.parse().unwrap();
        let accepted = |text: &str, manifest: &Digest| verifies(text.as_bytes(), &key, manifest);
        assert!(accepted(BUNDLE, &manifest));
        assert!(!accepted(BUNDLE, &Digest::of(b"other")));
        assert!(!accepted(
            &BUNDLE.replace("in-toto+json", "other+json"),
            &manifest
        ));
        assert!(!accepted(&BUNDLE.replace("MEUCIE", "MEUCIF"), &manifest));
        assert!(!accepted("{}", &manifest));
    }
}
