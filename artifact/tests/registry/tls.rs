//! Registries with TLS.

use std::fs;
use std::path::PathBuf;

use parbake_artifact::registry::{Options, publish, pull};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::mirrors;
use crate::server::{Server, free_address};
use crate::small::{Place, chain, tag};

/// An authority, and a certificate that it gave to who is at 127.0.0.1.
struct Certificates {
    dir: TempDir,
    authority: String,
}

impl Certificates {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        fs::write(dir.path().join("certificate"), certificate.pem()).unwrap();
        fs::write(dir.path().join("key"), key.serialize_pem()).unwrap();
        let authority = authority.pem();
        Self { dir, authority }
    }

    fn server(&self) -> Server {
        let file = |name: &str| self.dir.path().join(name);
        Server::with(&json!({"http": {"tls": {"certificate": file("certificate"), "key": file("key")}}}))
    }

    /// Options that trust these authorities.
    fn trusting(&self, name: &str, authorities: &[&str]) -> Options {
        let path = self.dir.path().join(name);
        fs::write(&path, authorities.concat()).unwrap();
        with(Some(path))
    }
}

fn with(ca_file: Option<PathBuf>) -> Options {
    Options {
        ca_file,
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_ones_own_is_trusted_when_named() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let server = certificates.server();
    let (source, reference, tag) = (Place::with_artifact(), server.reference("closed"), tag());
    let alone = certificates.trusting("alone", &[&certificates.authority]);
    let second = certificates.trusting("second", &[&others.authority, &certificates.authority]);
    for options in [alone, second] {
        let target = Place::empty();
        publish(&source.store, &tag, &reference, &options).await.unwrap();
        pull(&target.store, &reference, Some(&tag), &options)
            .await
            .unwrap();
        target.check();
    }
    let another = certificates.trusting("another", &[&others.authority]);
    for options in [with(None), another] {
        let target = Place::empty();
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
            assert!(error.contains("by TLS") && error.contains("--ca-file"), "{error}");
        }
        target.check_without();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_may_be_insecure_may_show_any_certificate() {
    let certificates = Certificates::new();
    let (server, source, target) = (certificates.server(), Place::with_artifact(), Place::empty());
    let trusting = certificates.trusting("alone", &[&certificates.authority]);
    let reference = server.reference("small");
    publish(&source.store, &tag(), &reference, &trusting)
        .await
        .unwrap();
    let registry = free_address();
    let reference = format!("{registry}/small:latest");
    mirrors::pull(&target, &reference, &registry, &[&server.address]).unwrap();
    target.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_holds_no_authority_is_one_error() {
    let (certificates, target, tag) = (Certificates::new(), Place::empty(), tag());
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
    assert!(
        error.contains("look at the certificates of `--ca-file`"),
        "{error}"
    );
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
