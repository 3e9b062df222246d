use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use tempfile::TempDir;

use super::{draft, nothing_in_use, one, tag, tags};
use crate::digest::Digest;
use crate::policy::Policy;
use crate::referrers::{Document, DocumentKind, Referrer};
use crate::signature::{MEDIA_TYPE, Payload, PrivateKey, SignatureManifest};
use crate::store::{Artifact, Store, StoreError};

fn documents(text: &str) -> [Document; 2] {
    [DocumentKind::Sbom, DocumentKind::Provenance].map(|kind| Document {
        kind,
        text: format!("{text} {kind:?}").into_bytes(),
    })
}

/// A new private key in a file, and its public key in another.
fn keys(dir: &Path) -> PrivateKey {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let path = dir.join("key");
    fs::write(&path, pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()))).unwrap();
    let output = std::process::Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .args([&path, Path::new("-out"), &dir.join("key.pub")])
        .output()
        .unwrap();
    assert!(output.status.success());
    PrivateKey::load(&path, None).unwrap()
}

/// Attaches to `subject` a signature of the manifest `named`.
fn sign(store: &Store, key: &PrivateKey, subject: &Digest, named: &Digest) {
    let payload = Payload::new("example.org/k8s", named, &[]).to_json();
    let mut signatures = SignatureManifest::default();
    let blob = store.put_document(&payload).unwrap();
    signatures.add(&blob, &key.sign(&payload).unwrap());
    let (config, manifest) = signatures.to_json();
    store.put_document(&config).unwrap();
    let manifest = store.put_document(&manifest).unwrap();
    store
        .attach(subject, &[Referrer::new(MEDIA_TYPE, &manifest)])
        .unwrap();
}

#[test]
fn documents_live_as_long_as_their_artifact() {
    let (_temp, mut store, artifact) = one();
    let two = tag("two");
    let put = store.put_with_documents(&two, draft(&artifact.layers), |made| {
        assert_eq!(made.digest, artifact.digest);
        documents("first").to_vec()
    });
    let digest = put.unwrap().digest;
    let text = |kind| store.documents(&digest, kind).unwrap();
    assert_eq!(text(DocumentKind::Sbom), [b"first Sbom".to_vec()]);
    assert_eq!(text(DocumentKind::Provenance), [b"first Provenance".to_vec()]);
    let before = store.referrers(&digest).unwrap();
    store.attach_documents(&two, &documents("first")).unwrap();
    assert_eq!(
        store.referrers(&digest).unwrap(),
        before,
        "equal documents have equal digests"
    );
    store.attach_documents(&two, &documents("second")).unwrap();
    assert_eq!(
        store.documents(&digest, DocumentKind::Sbom).unwrap(),
        [b"second Sbom".to_vec()]
    );
    assert_eq!(store.referrers(&digest).unwrap().len(), 2);
    // Manifests and texts of the replaced documents.
    let swept = store.exclusive().unwrap().sweep(&BTreeSet::new()).unwrap();
    assert_eq!(swept.blobs, 4);
    store.verify(&two).unwrap();
    store.remove(std::slice::from_ref(&two), nothing_in_use).unwrap();
    assert_eq!(
        store.referrers(&digest).unwrap().len(),
        2,
        "the artifact still has another tag"
    );
    store.remove(&tags(&["one"]), nothing_in_use).unwrap();
    assert_eq!(store.referrers(&digest).unwrap(), []);
    assert_eq!(fs::read_dir(store.dir().join("blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn corrupt_documents_are_detected() {
    let (_temp, store, artifact) = one();
    store.attach_documents(&artifact.tag, &documents("a")).unwrap();
    let text = store.blob_path(&Digest::of(b"a Sbom"));
    fs::write(&text, "b Sbom").unwrap();
    let error = store.documents(&artifact.digest, DocumentKind::Sbom).unwrap_err();
    assert!(matches!(error, StoreError::Attachment { .. }), "{error}");
    let error = store.verify(&artifact.tag).unwrap_err().to_string();
    assert!(
        error.contains("its `application/vnd.cyclonedx+json` is missing"),
        "{error}"
    );
}

#[test]
fn signatures_are_valid_for_their_artifact_and_key_only() {
    let (temp, store, artifact) = one();
    let dir = tempfile::tempdir_in(temp.path()).unwrap();
    let (key, other) = (keys(temp.path()), keys(dir.path()));
    let signed = |keys: &[&PrivateKey]| {
        let keys: Vec<_> = keys.iter().map(|key| key.public()).collect();
        store
            .find_signature(&artifact.digest, &keys)
            .unwrap()
            .map(|signed| signed.key)
    };
    assert_eq!(signed(&[&key]), None);
    sign(&store, &key, &artifact.digest, &Digest::of(b"other"));
    assert_eq!(signed(&[&key]), None, "the signature of another digest");
    sign(&store, &key, &artifact.digest, &artifact.digest);
    assert_eq!(signed(&[&key]), Some(0));
    assert_eq!(signed(&[&other, &key]), Some(1));
    assert_eq!(signed(&[&other]), None);
    assert_eq!(
        store.referrers(&artifact.digest).unwrap().len(),
        1,
        "it replaces the other"
    );
    // A payload that was changed.
    let payload = Payload::new("example.org/k8s", &artifact.digest, &[]).to_json();
    fs::write(store.blob_path(&Digest::of(&payload)), "{}").unwrap();
    assert_eq!(signed(&[&key]), None);
}

fn policy(dir: &TempDir, text: &str) -> Result<Policy, String> {
    fs::write(dir.path().join("policy.toml"), text).unwrap();
    Policy::load(dir.path()).map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    })
}

#[test]
fn policy_requires_signatures() {
    let (temp, store, artifact) = one();
    let key = keys(temp.path());
    let pulled = Artifact {
        origin: Some("example.org/k8s".parse().unwrap()),
        ..artifact.clone()
    };
    assert!(
        Policy::load(temp.path()).unwrap().check(&store, &pulled).is_ok(),
        "no policy"
    );
    let lax = policy(&temp, "refuse-unsigned = false\n").unwrap();
    assert!(lax.check(&store, &pulled).is_ok());
    let strict = policy(&temp, "refuse-unsigned = true\nkeys = [\"key.pub\"]\n").unwrap();
    let local = policy(
        &temp,
        "refuse-unsigned = true\nkeys = [\"key.pub\"]\nallow-local = true\n",
    )
    .unwrap();
    for (policy, artifact) in [(&strict, &artifact), (&strict, &pulled), (&local, &pulled)] {
        let error = policy.check(&store, artifact).unwrap_err().to_string();
        assert!(
            error.contains("`one` has no signature") && error.contains("it is unsigned"),
            "{error}"
        );
    }
    assert!(local.check(&store, &artifact).is_ok());
    sign(&store, &key, &artifact.digest, &Digest::of(b"other"));
    let error = strict.check(&store, &pulled).unwrap_err().to_string();
    assert!(error.contains("signed with other keys"), "{error}");
    sign(&store, &key, &artifact.digest, &artifact.digest);
    assert!(strict.check(&store, &pulled).is_ok());
}

#[test]
fn invalid_policies_are_rejected() {
    let temp = tempfile::tempdir().unwrap();
    for (text, problem) in [
        ("", "missing field `refuse-unsigned`"),
        ("refuse-unsigned = true\n", "lists no `keys`"),
        ("refuse-unsigned = 1\n", "expected a boolean"),
        ("refuse-unsigned = true\nkey = []\n", "unknown field `key`"),
        (
            "refuse-unsigned = false\nkeys = [\"absent\"]\n",
            "cannot read the key",
        ),
        ("refuse-unsigned\n", "TOML parse error at line 1"),
    ] {
        let error = policy(&temp, text).unwrap_err();
        assert!(error.contains(problem), "{text}: {error}");
    }
}
