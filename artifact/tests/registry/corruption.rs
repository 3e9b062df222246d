//! Registries that send wrong bytes, lack support for ranges, or redirect to other hosts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::task::JoinSet;

use crate::fixture::{TestStore, chain};
use crate::proxy::{Fault, Proxy};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_one_error_and_are_discarded() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    source.publish(&server.reference("wrong")).await.unwrap();
    let largest = source.largest();
    let zeros =
        "docker-content-digest: sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let cases = [
        (Fault::Truncate(0), Err("another length")),
        (Fault::Truncate(1_000_000), Err("another length")),
        (Fault::Overstate(1), Err("another length")),
        (Fault::Flip(0), Err("sent wrong data for layer")),
        (Fault::Flip(1_000_000), Err("sent wrong data for layer")),
        // Only the digest in the manifest counts.
        (Fault::Header(zeros), Ok(())),
        (Fault::Status(200, ""), Err("another length")),
    ];
    let mut tasks = JoinSet::new();
    for (number, (fault, expected)) in cases.into_iter().enumerate() {
        let (upstream, largest) = (server.address.clone(), largest.to_string());
        tasks.spawn(async move {
            let target = TestStore::empty();
            let proxy = Proxy::start(&upstream, move |request| {
                if request.kind() == "blob" && request.path.ends_with(&largest) {
                    fault.clone()
                } else {
                    Fault::None
                }
            });
            let reference = proxy.reference("wrong");
            let outcome = target.pull(&reference).await;
            if let Err(expected) = expected {
                let error = chain(&outcome.unwrap_err());
                assert!(error.contains(expected), "{number}: {error}");
                target.assert_no_artifact();
                proxy.heal();
                target.pull(&reference).await.unwrap();
            } else {
                outcome.unwrap();
            }
            target.assert_intact();
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifest_is_one_error() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let published = source.publish(&server.reference("manifest")).await.unwrap();
    let pinned = |proxy: &Proxy| proxy.reference("manifest").pinned(&published.digest);
    let cases = [
        (Fault::Flip(50), "has another manifest"),
        (Fault::Truncate(100), "has another manifest"),
        (Fault::Status(200, ""), "has another manifest"),
    ];
    for (fault, expected) in cases {
        let target = TestStore::empty();
        let proxy = Proxy::start(&server.address, move |request| match request.kind() {
            "manifest" => fault.clone(),
            _ => Fault::None,
        });
        let error = chain(&target.pull(&pinned(&proxy)).await.unwrap_err());
        assert!(error.contains(expected), "{error}");
        // Without a digest it must be an artifact at least.
        let error = target.pull(&proxy.reference("manifest")).await.map(|_| ());
        assert!(error.is_err());
        target.assert_no_artifact();
        proxy.heal();
        target.pull(&pinned(&proxy)).await.unwrap();
        target.assert_intact();
    }
}

/// The registry supports no ranges, and one transfer is interrupted.
#[tokio::test(flavor = "multi_thread")]
async fn registry_without_ranges_is_read_from_the_start() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    source.publish(&server.reference("ranges")).await.unwrap();
    let proxy = Proxy::start(&server.address, |request| {
        match (request.kind(), request.number) {
            ("blob", 1) => Fault::Cut(100_000),
            ("blob", _) if request.head.contains("\r\nrange:") => Fault::Status(416, ""),
            _ => Fault::None,
        }
    });
    target.pull(&proxy.reference("ranges")).await.unwrap();
    let asked = proxy.seen();
    assert!(asked.iter().any(|request| request.head.contains("\r\nrange:")));
    target.assert_intact();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_not_sent_to_the_target_of_a_redirect() {
    let htpasswd = tempfile::NamedTempFile::new().unwrap();
    // The user `me` with the password `secret`, as `htpasswd -B` writes it.
    std::fs::write(
        &htpasswd,
        "me:$2b$04$WRKxIqXD9jWbtq8IG5s/8ulV0jDzZwZJK5wApkyH26ZWdGcEjLFga\n",
    )
    .unwrap();
    let auth = json!({"auth": {"htpasswd": {"realm": "tests", "path": htpasswd.path()}}});
    let (closed, open) = (Server::with(&auth), Server::start());
    let (source, target) = (TestStore::with_artifact(), TestStore::empty());
    source.publish(&open.reference("elsewhere")).await.unwrap();
    // The proxy in front of the blobs records all headers.
    let elsewhere = Proxy::start(&open.address, |_| Fault::None);
    let there = elsewhere.address();
    let front = Proxy::start(&closed.address, move |request| match request.kind() {
        "blob" => Fault::Redirect(format!("http://{there}{}", request.path)),
        _ => Fault::None,
    });
    let reference = front.reference("elsewhere");
    let file = json!({"auths": {front.address(): {"auth": STANDARD.encode("me:secret")}}});
    let file = file.to_string();
    let outcome = crate::child::run(&["publish", &reference.to_string()], source.dir.path(), &file);
    outcome.unwrap();
    crate::child::run(&["pull", &reference.to_string()], target.dir.path(), &file).unwrap();
    target.assert_intact();
    let (front, elsewhere) = (front.seen(), elsewhere.seen());
    assert!(
        elsewhere
            .iter()
            .filter(|request| request.kind() == "blob")
            .count()
            >= 4
    );
    assert!(
        front
            .iter()
            .any(|request| request.head.contains("\r\nauthorization: basic"))
    );
    for request in &elsewhere {
        assert!(!request.head.contains("authorization"), "{}", request.head);
        assert!(!request.head.contains("bwu6"), "{}", request.head);
    }
}
