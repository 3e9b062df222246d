//! kubeadm's configuration of a joining node.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::Kubeconfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;

use crate::model::container_runtime::ContainerRuntime;
use crate::model::description::Node;

/// Preflight checks that assume a whole host. (The kubelet accepts cgroup v1 with `failCgroupV1: false`.)
const IGNORED_CHECKS: [&str; 5] = [
    "SystemVerification",
    "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
    "NumCPU",
    "Mem",
    "Swap",
];

/// Settings of a joining node's kubelet, in addition to those of all kubelets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubeletSettings {
    /// Arguments by name, without the two dashes. They override kubeadm's.
    pub arguments: BTreeMap<String, String>,
    /// Changes to the cluster's kubelet configuration (`kubelet.config.k8s.io/v1beta1`), as a JSON merge patch (RFC 7386).
    /// Since Kubernetes 1.25.
    pub configuration: Option<Value>,
}

/// The `JoinConfiguration` of `node`, in the newest format. `endpoint` is `ADDRESS:PORT` of the API, `ca_hash` the hash of
/// its CA's public key, see [`ca_hash`].
pub fn join_configuration(
    runtime: ContainerRuntime,
    node: &Node,
    endpoint: &str,
    token: &str,
    ca_hash: &str,
) -> Value {
    json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": { "bootstrapToken": {
            "apiServerEndpoint": endpoint, "token": token, "caCertHashes": [ca_hash],
        } },
        "nodeRegistration": node_registration(runtime, node),
    })
}

/// The `nodeRegistration` of `kubeadm init` and `kubeadm join`, in the newest format.
pub fn node_registration(runtime: ContainerRuntime, node: &Node) -> Value {
    json!({
        "name": node.name,
        "criSocket": runtime.profile().socket,
        "imagePullPolicy": "Never",
        "ignorePreflightErrors": IGNORED_CHECKS,
        "kubeletExtraArgs": [{ "name": "node-ip", "value": node.comma_separated(|family| family.address) }],
    })
}

/// A new bootstrap token (Kubernetes documentation, 'Authenticating with Bootstrap Tokens', Token Format).
///
/// # Errors
/// The kernel has no random bytes.
pub fn new_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 11];
    getrandom::fill(&mut bytes)?;
    let digits = hex::encode(bytes);
    Ok(format!("{}.{}", &digits[..6], &digits[6..]))
}

/// The hash of the public key of a kubeconfig's certificate authority for `--discovery-token-ca-cert-hash`: `sha256:HEX` of
/// its `SubjectPublicKeyInfo` (RFC 5280, section 4.1). `None` if the kubeconfig has no valid certificate.
pub fn ca_hash(kubeconfig: &str) -> Option<String> {
    let config = Kubeconfig::from_yaml(kubeconfig).ok()?;
    let cluster = config.clusters.first()?.cluster.as_ref()?;
    let data = cluster.certificate_authority_data.as_ref()?;
    let pem = STANDARD.decode(data).ok()?;
    let certificate = CertificateDer::from_pem_slice(&pem).ok()?;
    let parsed = EndEntityCert::try_from(&certificate).ok()?;
    let hash = Sha256::digest(parsed.subject_public_key_info());
    Some(format!("sha256:{}", hex::encode(hash)))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{ca_hash, new_token};

    /// Made by `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=kubernetes`; the hash by `openssl x509
    /// -pubkey -noout | openssl pkey -pubin -outform der | sha256sum`.
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBfjCCASWgAwIBAgIUSeQBzGc5FLMXh3LJo4Ibt8lHC3UwCgYIKoZIzj0EAwIw\n\
        FTETMBEGA1UEAwwKa3ViZXJuZXRlczAeFw0yNjExMjExODAyMjJaFw0zNjExMTgx\n\
        ODAyMjJaMBUxEzARBgNVBAMMCmt1YmVybmV0ZXMwWTATBgcqhkjOPQIBBggqhkjO\n\
        PQMBBwNCAATdGlhqWhGN0M8gp9WgImJW1THSphj88TzNe5qFCsg0Q8hiVNMEds+5\n\
        UJ8TIlDcH+3rihmb9MCIFZwVCfVI/7aYo1MwUTAdBgNVHQ4EFgQU21OAMzCDSIa2\n\
        IjaCpxomaszk3YkwHwYDVR0jBBgwFoAU21OAMzCDSIa2IjaCpxomaszk3YkwDwYD\n\
        VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiACi9D1ueoIIZiWy6EFneLa\n\
        X84ZG5y0r87nogr//NlV3gIgKuYO2k9DD4h1k4qwdrSaGv6G3xn0T7nEAYTFGCG/\n\
        Oe8=\n\
        -----END CERTIFICATE-----\n";
    const HASH: &str = "sha256:5366a7f699f31e1ecdeb4b28fd11a9c8160f4ab7a70e5eb0794ebef0fc24623e";

    #[test]
    fn ca_hash_equals_that_of_openssl() {
        let kubeconfig = |data: &str| {
            format!(
                "{{apiVersion: v1, kind: Config, clusters: [{{name: c, cluster: {{server: 'https://192.0.2.1', \
                 certificate-authority-data: {data}}}}}]}}"
            )
        };
        let found = ca_hash(&kubeconfig(&STANDARD.encode(CERTIFICATE)));
        assert_eq!(found.as_deref(), Some(HASH));
        for broken in ["", "AAAA", &STANDARD.encode("no certificate")] {
            assert_eq!(ca_hash(&kubeconfig(broken)), None, "{broken}");
        }
        assert_eq!(ca_hash("{}"), None);
    }

    #[test]
    fn tokens_are_random_and_well_formed() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        let (id, secret) = one.split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert!(
            (id.to_owned() + secret)
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit())
        );
        assert_ne!(one, other);
    }
}
