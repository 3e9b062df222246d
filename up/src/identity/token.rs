//! Service account tokens that are kept in secrets.
//!
//! They have the form that the controller manager gives them (Kubernetes, `pkg/serviceaccount/legacy.go` and `jwt.go`): JSON
//! Web Tokens (RFC 7519) in compact serialization (RFC 7515, section 3.1). They do not expire, but are valid only while the
//! secret holds them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parbake_cluster::sanitize::tokens::{Account, Signer};
use rcgen::{KeyPair, PublicKeyData};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The key that signs service account tokens.
pub(super) struct ServiceAccounts(KeyPair);

impl fmt::Debug for ServiceAccounts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServiceAccounts").finish_non_exhaustive()
    }
}

impl ServiceAccounts {
    /// `key` is an ECDSA P-256 key.
    pub(super) fn new(key: KeyPair) -> Self {
        Self(key)
    }

    pub(super) fn key(&self) -> &KeyPair {
        &self.0
    }
}

impl Signer for ServiceAccounts {
    fn token(&self, account: Account<'_>) -> Option<String> {
        let random = SystemRandom::new();
        let pkcs8 = self.0.serialize_der();
        // ES256 (RFC 7518, section 3.4) concatenates the two integers, unlike the signature of a certificate.
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random).ok()?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.subject_public_key_info()));
        let header = json!({ "alg": "ES256", "kid": id });
        let claims = json!({
            "iss": "kubernetes/serviceaccount",
            "sub": format!("system:serviceaccount:{}:{}", account.namespace, account.name),
            "kubernetes.io/serviceaccount/namespace": account.namespace,
            "kubernetes.io/serviceaccount/secret.name": account.secret,
            "kubernetes.io/serviceaccount/service-account.name": account.name,
            "kubernetes.io/serviceaccount/service-account.uid": account.uid,
        });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = key.sign(&random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use parbake_cluster::sanitize::tokens::{Account, Signer};
    use rcgen::{KeyPair, PublicKeyData};
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::Value;

    use super::ServiceAccounts;

    #[test]
    fn token_names_its_account_and_is_signed() {
        let signer = ServiceAccounts::new(KeyPair::generate().unwrap());
        let account = Account {
            namespace: "kube-system",
            name: "coredns",
            uid: "1-2",
            secret: "coredns-token-abcde",
        };
        let token = signer.token(account).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let parts: Vec<Value> = signed
            .split('.')
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts[0]["alg"], "ES256");
        assert_eq!(parts[1]["sub"], "system:serviceaccount:kube-system:coredns");
        assert_eq!(
            parts[1]["kubernetes.io/serviceaccount/secret.name"],
            "coredns-token-abcde"
        );
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer.key().der_bytes());
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        key.verify(signed.as_bytes(), &signature).unwrap();
        assert!(key.verify(b"other", &signature).is_err());
    }
}
