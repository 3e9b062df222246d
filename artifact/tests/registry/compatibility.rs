//! Registries that deviate from the specification, or use its options.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::child::run;
use crate::fixture::{TestStore, options, tag};
use crate::proxy::{Fault, Proxy};
use crate::server::Server;

/// `GET /v2/` and all reads succeed without credentials.
#[test]
fn password_that_only_a_push_requires_is_sent() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    let proxy = Proxy::start(&server.address, |request| {
        let is_read = request.method == "GET" || request.method == "HEAD";
        match is_read || request.head.contains("\r\nauthorization: basic bwu6c2vjcmv0") {
            true => Fault::None,
            false => Fault::Status(401, "WWW-Authenticate: Basic realm=\"tests\"\r\n"),
        }
    });
    let reference = proxy.reference("push").to_string();
    let error = run(&["publish", &reference], source.dir.path(), "{}").unwrap_err();
    assert!(
        error.contains("refuses to take") && error.contains("no credential was found"),
        "{error}"
    );
    let auths = json!({"auths": {proxy.address(): {"auth": STANDARD.encode("me:secret")}}}).to_string();
    run(&["publish", &reference], source.dir.path(), &auths).unwrap();
    run(&["pull", &reference], target.dir.path(), "{}").unwrap();
    target.assert_intact();
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_head_requests_are_replaced() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    for status in [403, 405, 501] {
        let proxy = Proxy::start(&server.address, move |request| {
            match request.method == "HEAD" && request.path.contains("/blobs/") {
                true => Fault::Status(status, ""),
                false => Fault::None,
            }
        });
        let reference = proxy.reference(&format!("head-{status}"));
        let published = source.publish(&reference).await.unwrap();
        assert_eq!(published.stats.transferred, source.size(), "{status}");
        // Blobs are found with GET.
        let published = source.publish(&reference).await.unwrap();
        assert_eq!(published.stats.skipped, source.size(), "{status}");
    }
    // Without any way to find out, blobs are sent.
    let proxy = Proxy::start(&server.address, |request| {
        let is_read = request.method == "HEAD" || request.kind() == "blob";
        match is_read && request.path.contains("/blobs/sha256:") {
            true => Fault::Status(403, ""),
            false => Fault::None,
        }
    });
    let published = source.publish(&proxy.reference("head-403")).await.unwrap();
    assert_eq!(published.stats.transferred, source.size());
}

#[tokio::test(flavor = "multi_thread")]
async fn optional_headers_may_be_missing() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    let proxy = Proxy::start(&server.address, |request| match request.method.as_str() {
        "GET" | "PUT" => Fault::WithoutHeaders(&["docker-content-digest", "content-length"]),
        _ => Fault::None,
    });
    let reference = proxy.reference("headers");
    source.publish(&reference).await.unwrap();
    target.pull(&reference).await.unwrap();
    target.assert_intact();
}

#[tokio::test(flavor = "multi_thread")]
async fn relative_upload_location_keeps_its_query() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    let proxy = Proxy::start(&server.address, |request| match request.method.as_str() {
        "POST" => Fault::RelativeLocation,
        _ => Fault::None,
    });
    source.publish(&proxy.reference("relative")).await.unwrap();
    let uploads = proxy.seen();
    let mut puts = uploads
        .iter()
        .filter(|request| request.kind() == "upload" && request.method == "PUT");
    assert!(puts.all(|put| put.path.contains("?_state=") && put.path.contains("&digest=sha256")));
    target.pull(&server.reference("relative")).await.unwrap();
    target.assert_intact();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_not_sent_to_a_foreign_upload_location() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let elsewhere = Proxy::start(&server.address, |_| Fault::None);
    let location = format!("Location: http://{}/upload?state=1\r\n", elsewhere.address());
    let location: &str = Box::leak(location.into_boxed_str());
    let proxy = Proxy::start(&server.address, move |request| {
        match (
            request.method.as_str(),
            request.head.contains("\r\nauthorization:"),
        ) {
            ("POST", true) => Fault::Status(202, location),
            ("POST", false) => Fault::Status(401, "WWW-Authenticate: Basic realm=\"tests\"\r\n"),
            _ => Fault::None,
        }
    });
    let auths = json!({"auths": {proxy.address(): {"auth": STANDARD.encode("me:secret")}}}).to_string();
    let reference = proxy.reference("foreign").to_string();
    // There is no registry at that path.
    run(&["publish", &reference], source.dir.path(), &auths).unwrap_err();
    let seen = elsewhere.seen();
    assert!(
        seen.iter()
            .any(|request| request.path.contains("/upload?state=1&digest="))
    );
    assert!(seen.iter().all(|request| !request.head.contains("authorization")));
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_address_in_brackets_is_a_registry() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    let proxy = Proxy::start_on("[::1]:0", &server.address, |_| Fault::None);
    let reference = proxy.reference("ipv6");
    source.publish(&reference).await.unwrap();
    parbake_artifact::registry::pull(&target.store, &reference, Some(&tag()), &options())
        .await
        .unwrap();
    target.assert_intact();
}
