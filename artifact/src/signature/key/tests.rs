//! Files that cosign and openssl wrote are tested end to end.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PrivateKey, PublicKey};

/// The constant start of every SubjectPublicKeyInfo on P-256 with an uncompressed point (RFC 5480, section 2).
const HEAD: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

fn pkcs8() -> Vec<u8> {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    document.as_ref().to_vec()
}

fn file(dir: &TempDir, name: &str, tag: &str, contents: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, pem::encode(&pem::Pem::new(tag, contents))).unwrap();
    path
}

fn encrypted(pkcs8: &[u8], password: &str) -> Value {
    let (salt, nonce) = ([7; 32], [9; 24]);
    let mut secret = [0; 32];
    let params = scrypt::Params::new(10, 8, 1).unwrap();
    scrypt::scrypt(password.as_bytes(), &salt, &params, &mut secret).unwrap();
    let sealed = XSalsa20Poly1305::new(&secret.into())
        .encrypt(&nonce.into(), pkcs8)
        .unwrap();
    json!({
        "kdf": {"name": "scrypt", "params": {"N": 1024, "r": 8, "p": 1}, "salt": STANDARD.encode(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": STANDARD.encode(nonce)},
        "ciphertext": STANDARD.encode(sealed),
    })
}

#[test]
fn only_the_matching_public_key_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let key = PrivateKey::load(&file(&dir, "key", "PRIVATE KEY", &pkcs8()), None).unwrap();
    let signature = key.sign(b"message").unwrap();
    let head = hex::decode(HEAD).unwrap();
    let info = [head, key.public().point].concat();
    let public = PublicKey::load(&file(&dir, "pub", "PUBLIC KEY", &info)).unwrap();
    assert_eq!(public, key.public());
    assert!(public.verifies(b"message", &signature));
    assert!(!public.verifies(b"massage", &signature));
    assert!(!public.verifies(b"message", &signature.to_lowercase()));
    assert!(!public.verifies(b"message", ""));
    let other = PrivateKey::load(&file(&dir, "other", "PRIVATE KEY", &pkcs8()), None).unwrap();
    assert!(!other.public().verifies(b"message", &signature));
}

#[test]
fn encrypted_keys_need_their_password() {
    let dir = tempfile::tempdir().unwrap();
    let pkcs8 = pkcs8();
    let text = encrypted(&pkcs8, "secret").to_string();
    let plain = PrivateKey::load(&file(&dir, "plain", "PRIVATE KEY", &pkcs8), None).unwrap();
    for tag in super::ENCRYPTED {
        let path = file(&dir, "key", tag, text.as_bytes());
        let key = PrivateKey::load(&path, Some("secret")).unwrap();
        assert_eq!(key.public(), plain.public());
        let error = PrivateKey::load(&path, Some("wrong")).unwrap_err().to_string();
        assert!(error.contains("does not open the key"), "{error}");
        let error = PrivateKey::load(&path, None).unwrap_err().to_string();
        assert!(error.contains("COSIGN_PASSWORD"), "{error}");
    }
}

#[test]
fn other_files_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = |change: fn(&mut Value)| {
        let mut value = encrypted(&pkcs8(), "secret");
        change(&mut value);
        file(&dir, "sealed", super::ENCRYPTED[0], value.to_string().as_bytes())
    };
    let cases = [
        (dir.path().join("absent"), "cannot read the key"),
        (file(&dir, "rsa", "RSA PRIVATE KEY", b"x"), "openssl pkcs8 -topk8"),
        (
            file(&dir, "junk", "PRIVATE KEY", b"x"),
            "not an ECDSA key on P-256",
        ),
        (sealed(|value| value["kdf"]["name"] = "argon2".into()), "argon2"),
    ];
    for (path, problem) in cases {
        let error = PrivateKey::load(&path, Some("secret")).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let large = sealed(|value| value["kdf"]["params"]["N"] = (1_u64 << 40).into());
    let error = PrivateKey::load(&large, Some("secret")).unwrap_err().to_string();
    assert!(error.contains("its scrypt parameters N"), "{error}");
    let text = dir.path().join("text");
    fs::write(&text, "no key").unwrap();
    for error in [
        PrivateKey::load(&text, None).unwrap_err(),
        PublicKey::load(&text).unwrap_err(),
    ] {
        assert!(error.to_string().contains("is not a p"), "{error}");
    }
    // Ed25519 (RFC 8410), and a private key in place of a public one.
    let ed25519 = [hex::decode("302a300506032b6570032100").unwrap(), vec![1; 32]].concat();
    let cases = [
        (
            file(&dir, "ed", "PUBLIC KEY", &ed25519),
            "not an ECDSA key on P-256",
        ),
        (
            file(&dir, "private", "PRIVATE KEY", &pkcs8()),
            "says `PRIVATE KEY`",
        ),
    ];
    for (path, problem) in cases {
        let error = PublicKey::load(&path).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}
