//! Registries that deviate from the specification, or use its options.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::task::JoinSet;

use crate::child::run;
use crate::fixture::{TestStore, chain, options, tag};
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

/// Begins of an upload, blobs and manifests.
#[test]
fn redirected_uploads_are_sent_there_without_credentials() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    for (number, method) in ["POST", "PUT"].into_iter().enumerate() {
        let elsewhere = Proxy::start(&server.address, |_| Fault::None);
        let there = elsewhere.address();
        let proxy = Proxy::start(&server.address, move |request| {
            let is_known = request.head.contains("\r\nauthorization: basic");
            match request.method == method {
                true if is_known => Fault::Redirect(format!("http://{there}{}", request.path)),
                true => Fault::Status(401, "WWW-Authenticate: Basic realm=\"tests\"\r\n"),
                false => Fault::None,
            }
        });
        let reference = proxy.reference(&format!("redirected-{number}")).to_string();
        let auths = json!({"auths": {proxy.address(): {"auth": STANDARD.encode("me:secret")}}}).to_string();
        run(&["publish", &reference], source.dir.path(), &auths).unwrap();
        let target = TestStore::empty();
        run(&["pull", &reference], target.dir.path(), &auths).unwrap();
        target.assert_intact();
        let seen = elsewhere.seen();
        assert!(seen.iter().any(|request| request.method == method), "{method}");
        assert!(seen.iter().all(|request| !request.head.contains("authorization")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_upload_is_started_again() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    for status in [404, 416] {
        let count = Arc::new(AtomicUsize::new(0));
        let proxy = Proxy::start(&server.address, move |request| {
            let is_upload = request.kind() == "upload" && request.method == "PUT";
            match is_upload && count.fetch_add(1, Ordering::SeqCst) < 2 {
                true => Fault::Status(status, ""),
                false => Fault::None,
            }
        });
        source
            .publish(&proxy.reference(&format!("lost-{status}")))
            .await
            .unwrap();
        let target = TestStore::empty();
        target
            .pull(&server.reference(&format!("lost-{status}")))
            .await
            .unwrap();
        target.assert_intact();
    }
    let proxy = Proxy::start(&server.address, |request| match request.method.as_str() {
        "PUT" => Fault::Status(404, ""),
        _ => Fault::None,
    });
    let error = chain(&source.publish(&proxy.reference("always")).await.unwrap_err());
    assert!(
        error.contains("it lost the upload (status 404)") && error.contains("share their state"),
        "{error}"
    );
}

/// By a proxy on the way, or stored like that.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_answers_are_decompressed() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    source.publish(&server.reference("packed")).await.unwrap();
    for fault in [Fault::Gzip, Fault::Header("Content-Encoding: gzip")] {
        let proxy = Proxy::start(&server.address, move |request| {
            match (request.method.as_str(), request.kind(), &fault) {
                ("GET", "manifest", Fault::Header(_)) => Fault::None,
                ("GET", ..) => fault.clone(),
                _ => Fault::None,
            }
        });
        let target = TestStore::empty();
        target.pull(&proxy.reference("packed")).await.unwrap();
        target.assert_intact();
        let mut seen = proxy.seen().into_iter();
        assert!(seen.all(|request| request.head.contains("accept-encoding: identity")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_may_fail_at_referrers_and_odd_tags() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let mut cases = JoinSet::new();
    for status in [400, 403, 404, 405, 500] {
        let upstream = server.address.clone();
        let reference = server.reference(&format!("referrers-{status}"));
        source.publish(&reference).await.unwrap();
        cases.spawn(async move {
            let proxy = Proxy::start(&upstream, move |request| {
                let is_odd = request.path.contains("/manifests/sha256-");
                match request.path.contains("/referrers/") {
                    true => Fault::Status(status, ""),
                    false if is_odd && request.method == "GET" => Fault::Status(400, ""),
                    false => Fault::None,
                }
            });
            let target = TestStore::empty();
            let reference = proxy.reference(&format!("referrers-{status}"));
            target.pull(&reference).await.unwrap();
            target.assert_intact();
        });
    }
    cases.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_pushes_say_what_to_do() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let (blob, manifest) = ("/blobs/uploads/", "/manifests/latest");
    for (method, path, status, expected) in [
        (
            "POST",
            blob,
            404,
            "not found (no); check the reference, and create the repository",
        ),
        (
            "PUT",
            blob,
            413,
            "raise that limit, which is `client_max_body_size` in nginx",
        ),
        (
            "PUT",
            manifest,
            400,
            "of the type `application/vnd.oci.image.manifest.v1+json`: status 400 (no)",
        ),
        ("PUT", manifest, 409, "take the manifest `latest`"),
        (
            "PUT",
            manifest,
            415,
            "of the type `application/vnd.oci.image.manifest.v1+json`: status 415 (no)",
        ),
    ] {
        let proxy = Proxy::start(&server.address, move |request| {
            match request.method == method && request.path.contains(path) {
                true => Fault::Status(status, ""),
                false => Fault::None,
            }
        });
        let reference = proxy.reference(&format!("refused-{status}"));
        let error = chain(&source.publish(&reference).await.unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}

/// A helper that is missing, a broken file: what is public can be read all the same.
#[test]
fn unusable_credentials_matter_only_where_they_are_needed() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let reference = server.reference("public").to_string();
    run(&["publish", &reference], source.dir.path(), "{}").unwrap();
    for (auths, problem) in [
        (
            r#"{"credsStore": "absent-tests"}"#,
            "`docker-credential-absent-tests` is not installed",
        ),
        ("{", "cannot use the credentials in"),
    ] {
        let target = TestStore::empty();
        run(&["pull", &reference], target.dir.path(), auths).unwrap();
        target.assert_intact();
        let error = run(&["publish", &reference], source.dir.path(), auths).unwrap_err();
        assert!(error.contains(problem), "{error}");
        let closed = Proxy::start(&server.address, |_| {
            Fault::Status(401, "WWW-Authenticate: Basic realm=\"tests\"\r\n")
        });
        let closed = closed.reference("public").to_string();
        let error = run(&["pull", &closed], target.dir.path(), auths).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}
