//! Key pairs in cosign's formats: PEM files (RFC 7468).
//!
//! ```text
//! ENCRYPTED SIGSTORE PRIVATE KEY   JSON: PKCS #8 in NaCl's secretbox, its key derived with scrypt
//! PRIVATE KEY                      PKCS #8 (RFC 5958), as `openssl genpkey` writes it
//! PUBLIC KEY                       SubjectPublicKeyInfo (RFC 5280, section 4.1)
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde::Deserialize;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Maximum size of a key file in bytes.
const MAX_FILE: u64 = 64 << 10;
/// PEM labels of cosign's encrypted keys; the second is that of versions before 2.0.
const ENCRYPTED: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
const PLAIN: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";
/// id-ecPublicKey and prime256v1 (RFC 5480, sections 2.1.1 and 2.1.1.1).
const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
/// Maximum memory of scrypt in bytes. cosign's own keys take 64 MiB.
const MAX_SCRYPT: u64 = 1 << 30;
const KEY_LENGTH: usize = 32;
const NONCE_LENGTH: usize = 24;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read the key `{}`", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is not a {wanted}: {problem}", .path.display())]
    Kind {
        path: PathBuf,
        /// `private key` or `public key`.
        wanted: &'static str,
        problem: String,
    },
    #[error("the key `{}` is encrypted; set its password in the environment variable COSIGN_PASSWORD", .path.display())]
    NoPassword { path: PathBuf },
    #[error("the password in COSIGN_PASSWORD does not open the key `{}`", .path.display())]
    WrongPassword { path: PathBuf },
}

#[derive(Debug)]
pub struct PrivateKey {
    pair: EcdsaKeyPair,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The uncompressed point (SEC 1, section 2.3.3).
    point: Vec<u8>,
}

/// The content of an encrypted key's PEM (go-securesystemslib, `encrypted/encrypted.go`).
#[derive(Deserialize)]
struct Encrypted {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: ScryptParams,
    salt: String,
}

#[derive(Deserialize)]
struct ScryptParams {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl PrivateKey {
    /// Loads a private key. `password` decrypts an encrypted one.
    ///
    /// # Errors
    /// It cannot be read or decrypted, or is not a key on P-256.
    pub fn load(path: &Path, password: Option<&str>) -> Result<Self, KeyError> {
        let wrong = |problem: &str| KeyError::Kind {
            path: path.to_owned(),
            wanted: "private key",
            problem: problem.to_owned(),
        };
        let pem = read(path, "private key")?;
        let pkcs8 = match pem.tag() {
            PLAIN => pem.into_contents(),
            tag if ENCRYPTED.contains(&tag) => {
                let password = password.ok_or_else(|| KeyError::NoPassword {
                    path: path.to_owned(),
                })?;
                let decrypted = decrypt(pem.contents(), password).map_err(|problem| wrong(&problem))?;
                decrypted.ok_or_else(|| KeyError::WrongPassword {
                    path: path.to_owned(),
                })?
            }
            other => {
                return Err(wrong(&format!(
                    "its PEM says `{other}`; convert it with `openssl pkcs8 -topk8 -nocrypt`"
                )));
            }
        };
        let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random)
            .map(|pair| Self { pair })
            .map_err(|error| wrong(&format!("it is not an ECDSA key on P-256 ({error})")))
    }

    pub fn public(&self) -> PublicKey {
        PublicKey {
            point: self.pair.public_key().as_ref().to_vec(),
        }
    }

    /// A signature in ASN.1 (RFC 3279, section 2.2.3), base64. `None` if the host has no source of randomness.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<String> {
        let signature = self.pair.sign(&SystemRandom::new(), message).ok()?;
        Some(STANDARD.encode(signature.as_ref()))
    }
}

impl PublicKey {
    /// Loads a public key.
    ///
    /// # Errors
    /// It cannot be read, or is not a key on P-256.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let wrong = |problem: &str| KeyError::Kind {
            path: path.to_owned(),
            wanted: "public key",
            problem: problem.to_owned(),
        };
        let pem = read(path, "public key")?;
        if pem.tag() != PUBLIC {
            return Err(wrong(&format!("its PEM says `{}`", pem.tag())));
        }
        let point = point(pem.contents()).ok_or_else(|| wrong("it is not an ECDSA key on P-256"))?;
        Ok(Self { point })
    }

    /// True if the signature (ASN.1, base64) of the message was made with this key pair.
    pub(crate) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point);
        STANDARD
            .decode(signature)
            .is_ok_and(|signature| key.verify(message, &signature).is_ok())
    }
}

fn read(path: &Path, wanted: &'static str) -> Result<pem::Pem, KeyError> {
    let failed = |source| KeyError::Read {
        path: path.to_owned(),
        source,
    };
    // A device could be endless.
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let text = fs::read(path).map_err(failed)?;
    pem::parse(text).map_err(|error| KeyError::Kind {
        path: path.to_owned(),
        wanted,
        problem: error.to_string(),
    })
}

/// The point of a SubjectPublicKeyInfo; `None` if it is not on P-256.
fn point(der: &[u8]) -> Option<Vec<u8>> {
    let (rest, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
    let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
    let is_p256 = rest.is_empty()
        && info.algorithm.algorithm.to_id_string() == EC
        && curve.to_id_string() == P256
        && info.subject_public_key.data.len() == 65;
    is_p256.then(|| info.subject_public_key.data.to_vec())
}

/// The PKCS #8 in an encrypted key; `None` if the password is wrong.
fn decrypt(text: &[u8], password: &str) -> Result<Option<Vec<u8>>, String> {
    let Encrypted {
        kdf,
        cipher,
        ciphertext,
    } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if (kdf.name.as_str(), cipher.name.as_str()) != ("scrypt", "nacl/secretbox") {
        return Err(format!("it is encrypted with {} and {}", kdf.name, cipher.name));
    }
    let ScryptParams { n, r, p } = kdf.params;
    let memory = n.saturating_mul(128).saturating_mul(u64::from(r));
    if !n.is_power_of_two() || memory > MAX_SCRYPT || p > 16 {
        return Err(format!(
            "its scrypt parameters N {n}, r {r} and p {p} are not supported"
        ));
    }
    let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    let params = scrypt::Params::new(log_n, r, p).map_err(|error| error.to_string())?;
    let decode = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
    let mut secret = [0; KEY_LENGTH];
    scrypt::scrypt(password.as_bytes(), &decode(&kdf.salt)?, &params, &mut secret)
        .map_err(|error| error.to_string())?;
    let nonce: [u8; NONCE_LENGTH] = decode(&cipher.nonce)?
        .try_into()
        .map_err(|_| "its nonce is not 24 bytes long".to_owned())?;
    let cipher = XSalsa20Poly1305::new(&secret.into());
    Ok(cipher
        .decrypt(&nonce.into(), decode(&ciphertext)?.as_slice())
        .ok())
}

#[cfg(test)]
mod tests;
