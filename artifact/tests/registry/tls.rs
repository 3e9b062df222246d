//! Registries with TLS.

use std::fs;
use std::path::PathBuf;

use parbake_artifact::Reference;
use parbake_artifact::registry::{Options, publish, pull};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{TestStore, chain, tag};
use crate::mirrors;
use crate::server::{Server, free_address};

/// A certificate authority, and its certificate for 127.0.0.1.
struct Certificates {
    dir: TempDir,
    authority: String,
}

impl Certificates {
    fn new() -> Self {
        Self::valid_until(2100)
    }

    /// Expired or not: at the beginning of `year`.
    fn valid_until(year: i32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &authority).unwrap();
        fs::write(dir.path().join("certificate"), certificate.pem()).unwrap();
        fs::write(dir.path().join("key"), key.serialize_pem()).unwrap();
        let authority = authority.pem();
        Self { dir, authority }
    }

    fn server(&self) -> Server {
        self.server_with(&json!({}))
    }

    fn server_with(&self, http: &Value) -> Server {
        let file = |name: &str| self.dir.path().join(name);
        let mut http = http.clone();
        http["tls"] = json!({"certificate": file("certificate"), "key": file("key")});
        Server::with(&json!({"http": http}))
    }

    /// Options that trust these authorities.
    fn trusting(&self, name: &str, authorities: &[&str]) -> Options {
        let path = self.dir.path().join(name);
        fs::write(&path, authorities.concat()).unwrap();
        with(Some(path))
    }
}

/// Publishes an artifact.
async fn publish_to(reference: &Reference, options: &Options) {
    let source = TestStore::with_artifact();
    publish(&source.store, &tag(), reference, options).await.unwrap();
}

fn with(ca_file: Option<PathBuf>) -> Options {
    Options {
        ca_file,
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn private_authority_is_trusted_if_named() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let server = certificates.server();
    let (source, reference, tag) = (TestStore::with_artifact(), server.reference("closed"), tag());
    let only_own = certificates.trusting("only_own", &[&certificates.authority]);
    let second = certificates.trusting("second", &[&others.authority, &certificates.authority]);
    for options in [only_own, second] {
        let target = TestStore::empty();
        publish(&source.store, &tag, &reference, &options).await.unwrap();
        pull(&target.store, &reference, Some(&tag), &options)
            .await
            .unwrap();
        target.assert_intact();
    }
    let another = certificates.trusting("another", &[&others.authority]);
    for options in [with(None), another] {
        let target = TestStore::empty();
        let refused = [
            publish(&source.store, &tag, &reference, &options)
                .await
                .unwrap_err(),
            pull(&target.store, &reference, Some(&tag), &options)
                .await
                .unwrap_err(),
        ];
        for error in refused {
            let error = chain(&error);
            assert!(
                error.contains("over TLS") && error.contains("--ca-file"),
                "{error}"
            );
        }
        target.assert_no_artifact();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_certificate_is_reported_as_such() {
    let certificates = Certificates::valid_until(2020);
    let (server, target) = (certificates.server(), TestStore::empty());
    let trusting = certificates.trusting("only_own", &[&certificates.authority]);
    let pulled = pull(
        &target.store,
        &server.reference("closed"),
        Some(&tag()),
        &trusting,
    )
    .await;
    let error = chain(&pulled.unwrap_err());
    assert!(error.contains("renew its certificate"), "{error}");
}

/// As behind a proxy that adds TLS, of which the registry does not know.
#[tokio::test(flavor = "multi_thread")]
async fn upload_location_without_tls_is_corrected() {
    let certificates = Certificates::new();
    let address = free_address();
    let http = json!({"addr": address, "host": format!("http://{address}")});
    let (server, target) = (certificates.server_with(&http), TestStore::empty());
    let trusting = certificates.trusting("only_own", &[&certificates.authority]);
    let reference = server.reference("small");
    publish_to(&reference, &trusting).await;
    pull(&target.store, &reference, Some(&tag()), &trusting)
        .await
        .unwrap();
    target.assert_intact();
}

#[tokio::test(flavor = "multi_thread")]
async fn insecure_mirror_may_have_any_certificate() {
    let certificates = Certificates::new();
    let (server, target) = (certificates.server(), TestStore::empty());
    let trusting = certificates.trusting("only_own", &[&certificates.authority]);
    publish_to(&server.reference("small"), &trusting).await;
    let registry = free_address();
    let reference = format!("{registry}/small:latest");
    mirrors::pull(&target, &reference, &registry, &[&server.address]).unwrap();
    target.assert_intact();
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_ca_file_is_an_error() {
    let (certificates, target, tag) = (Certificates::new(), TestStore::empty(), tag());
    let reference = "127.0.0.1:1/closed".parse().unwrap();
    let options = certificates.trusting(
        "broken",
        &["-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"],
    );
    let error = chain(
        &pull(&target.store, &reference, Some(&tag), &options)
            .await
            .unwrap_err(),
    );
    assert!(error.contains("check the certificates of `--ca-file`"), "{error}");
    let options = with(Some("/absent/authorities.pem".into()));
    let error = chain(
        &pull(&target.store, &reference, Some(&tag), &options)
            .await
            .unwrap_err(),
    );
    assert!(
        error.contains("cannot read the certificates in `/absent/authorities.pem`"),
        "{error}"
    );
}
