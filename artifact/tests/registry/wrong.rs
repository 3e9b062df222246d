//! Registries that send other bytes than they should, or send one elsewhere for them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::task::JoinSet;

use crate::proxy::{Fault, Proxy};
use crate::server::Server;
use crate::small::{Place, chain};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_one_error_and_nothing_of_them_stays() {
    let (server, source) = (Server::start(), Place::with_artifact());
    source.publish(&server.reference("wrong")).await.unwrap();
    let largest = source.largest();
    let zeros =
        "docker-content-digest: sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let cases = [
        (Fault::Short(0), Err("another length")),
        (Fault::Short(1_000_000), Err("another length")),
        (Fault::Long(1), Err("another length")),
        (Fault::Flip(0), Err("is not what it should be")),
        (Fault::Flip(1_000_000), Err("is not what it should be")),
        // What somebody says in between is of no interest, only what the manifest says.
        (Fault::Header(zeros), Ok(())),
        (Fault::Status(200, ""), Err("another length")),
    ];
    let mut tasks = JoinSet::new();
    for (number, (fault, expected)) in cases.into_iter().enumerate() {
        let (upstream, largest) = (server.address.clone(), largest.to_string());
        tasks.spawn(async move {
            let target = Place::empty();
            let proxy = Proxy::start(&upstream, move |request| {
                if request.kind() == "blob" && request.path.ends_with(&largest) {
                    fault.clone()
                } else {
                    Fault::None
                }
            });
            let reference = proxy.reference("wrong");
            let outcome = target.pull(&reference).await;
            if let Err(said) = expected {
                let error = chain(&outcome.unwrap_err());
                assert!(error.contains(said), "{number}: {error}");
                target.check_without();
                proxy.heal();
                target.pull(&reference).await.unwrap();
            } else {
                outcome.unwrap();
            }
            target.check();
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_manifest_is_one_error() {
    let (server, source) = (Server::start(), Place::with_artifact());
    let published = source.publish(&server.reference("manifest")).await.unwrap();
    let pinned = |proxy: &Proxy| proxy.reference("manifest").pinned(&published.digest);
    let cases = [
        (Fault::Flip(50), "has another manifest"),
        (Fault::Short(100), "has another manifest"),
        (Fault::Status(200, ""), "has another manifest"),
    ];
    for (fault, said) in cases {
        let target = Place::empty();
        let proxy = Proxy::start(&server.address, move |request| match request.kind() {
            "manifest" => fault.clone(),
            _ => Fault::None,
        });
        let error = chain(&target.pull(&pinned(&proxy)).await.unwrap_err());
        assert!(error.contains(said), "{error}");
        // Without a digest it has to be an artifact at least.
        let error = target.pull(&proxy.reference("manifest")).await.map(|_| ());
        assert!(error.is_err());
        target.check_without();
        proxy.heal();
        target.pull(&pinned(&proxy)).await.unwrap();
        target.check();
    }
}

/// A registry that only goes on from the start, and breaks off once.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_ranges_is_asked_from_the_start() {
    let (server, source, target) = (Server::start(), Place::with_artifact(), Place::empty());
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
    target.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_follow_a_redirect() {
    let htpasswd = tempfile::NamedTempFile::new().unwrap();
    // The user `me` with the password `secret`, as `htpasswd -B` writes it.
    std::fs::write(
        &htpasswd,
        "me:$2b$04$WRKxIqXD9jWbtq8IG5s/8ulV0jDzZwZJK5wApkyH26ZWdGcEjLFga\n",
    )
    .unwrap();
    let auth = json!({"auth": {"htpasswd": {"realm": "tests", "path": htpasswd.path()}}});
    let (closed, open) = (Server::with(&auth), Server::start());
    let (source, target) = (Place::with_artifact(), Place::empty());
    source.publish(&open.reference("elsewhere")).await.unwrap();
    // Whoever has the blobs sees all that comes with a request.
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
    target.check();
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
