//! Key pairs as cosign has them: PEM files (RFC 7468).
//!
//! ```text
//! ENCRYPTED SIGSTORE PRIVATE KEY   JSON: scrypt makes a key of the password, NaCl's secretbox holds PKCS #8
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

/// More than any key file has, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// How cosign calls its encrypted keys; before 2.0 it used the other name.
const ENCRYPTED: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
const PLAIN: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";
/// id-ecPublicKey and prime256v1 (RFC 5480, sections 2.1.1 and 2.1.1.1).
const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
/// What scrypt may be asked for at most: 1 GiB. cosign's own keys take 64 MiB.
const MAX_SCRYPT: u64 = 1 << 30;
const SECRET: usize = 32;
const NONCE: usize = 24;

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read the key `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no key of the kind that is needed.
    #[error("`{}` holds no {wanted}: {problem}", .path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// `private key`, `public key`.
        wanted: &'static str,
        /// What it holds instead.
        problem: String,
    },
    /// It is encrypted, and no password was given.
    #[error("the key `{}` is encrypted; give its password in the environment variable COSIGN_PASSWORD", .path.display())]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
    /// It is encrypted with another password.
    #[error("the password in COSIGN_PASSWORD does not open the key `{}`", .path.display())]
    WrongPassword {
        /// The file.
        path: PathBuf,
    },
}

/// A key that signs.
#[derive(Debug)]
pub struct PrivateKey {
    pair: EcdsaKeyPair,
}

/// A key that tells whether the [`PrivateKey`] it belongs to signed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The uncompressed point (SEC 1, section 2.3.3).
    point: Vec<u8>,
}

/// What an encrypted key's PEM holds (go-securesystemslib, `encrypted/encrypted.go`).
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
    /// Reads a private key. `password` is what an encrypted one is opened with.
    ///
    /// # Errors
    /// When it cannot be read or opened, or is no key on P-256.
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
                let opened = open(pem.contents(), password).map_err(|problem| wrong(&problem))?;
                opened.ok_or_else(|| KeyError::WrongPassword {
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
            .map_err(|error| wrong(&format!("it is none of ECDSA on P-256 ({error})")))
    }

    /// The key that checks what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey {
            point: self.pair.public_key().as_ref().to_vec(),
        }
    }

    /// Signs: ASN.1 (RFC 3279, section 2.2.3) in base64. `None` when the host has no randomness.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<String> {
        let signature = self.pair.sign(&SystemRandom::new(), message).ok()?;
        Some(STANDARD.encode(signature.as_ref()))
    }
}

impl PublicKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// When it cannot be read, or is no key on P-256.
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
        let point = point(pem.contents()).ok_or_else(|| wrong("it is none of ECDSA on P-256"))?;
        Ok(Self { point })
    }

    /// Whether the signature, ASN.1 in base64, is this key's under the message.
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
    // Not for ever from a device that somebody named by mistake.
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

/// The point of a SubjectPublicKeyInfo, if it is one on P-256.
fn point(der: &[u8]) -> Option<Vec<u8>> {
    let (rest, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
    let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
    let is_it = rest.is_empty()
        && info.algorithm.algorithm.to_id_string() == EC
        && curve.to_id_string() == P256
        && info.subject_public_key.data.len() == 65;
    is_it.then(|| info.subject_public_key.data.to_vec())
}

/// The PKCS #8 in an encrypted key; `None` when the password is wrong.
fn open(text: &[u8], password: &str) -> Result<Option<Vec<u8>>, String> {
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
        return Err(format!("it wants scrypt with N {n}, r {r} and p {p}"));
    }
    let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    let params = scrypt::Params::new(log_n, r, p).map_err(|error| error.to_string())?;
    let decode = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
    let mut secret = [0; SECRET];
    scrypt::scrypt(password.as_bytes(), &decode(&kdf.salt)?, &params, &mut secret)
        .map_err(|error| error.to_string())?;
    let nonce: [u8; NONCE] = decode(&cipher.nonce)?
        .try_into()
        .map_err(|_| "its nonce is not 24 bytes long".to_owned())?;
    let opener = XSalsa20Poly1305::new(&secret.into());
    Ok(opener
        .decrypt(&nonce.into(), decode(&ciphertext)?.as_slice())
        .ok())
}

#[cfg(test)]
mod tests;
