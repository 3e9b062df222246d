//! Temporary and permanent HTTP errors.

use std::time::{Duration, Instant};

use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use crate::fixture::{TestStore, chain};
use crate::proxy::{Fault, Proxy};
use crate::server::Server;

/// Statuses, and what the error says of them.
const STATUSES: [(u16, &str); 6] = [
    (401, "refuses to"),
    (403, "refuses to"),
    (404, "not found (no); check the reference"),
    (429, "status 429 (no); it asks to retry after 1 s"),
    (500, "status 500 (no)"),
    (503, "status 503 (no)"),
];

fn headers(status: u16) -> &'static str {
    match status {
        429 => "Retry-After: 1\r\n",
        _ => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permanent_http_error_fails_once() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    source.publish(&server.reference("no")).await.unwrap();
    let mut cases = JoinSet::new();
    for kind in ["manifest", "blob"] {
        for (status, expected) in STATUSES {
            let upstream = server.address.clone();
            cases.spawn(async move {
                let target = TestStore::empty();
                let proxy = Proxy::start(&upstream, move |request| {
                    if request.kind() == kind {
                        Fault::Status(status, headers(status))
                    } else {
                        Fault::None
                    }
                });
                let reference = proxy.reference("no");
                let error = chain(&target.pull(&reference).await.unwrap_err());
                assert!(error.contains(expected), "{kind} {status}: {error}");
                let what = if kind == "blob" {
                    "the config"
                } else {
                    "the manifest"
                };
                assert!(error.contains(what), "{kind} {status}: {error}");
                target.assert_no_artifact();
                proxy.heal();
                target.pull(&reference).await.unwrap();
                target.assert_intact();
            });
        }
    }
    cases.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_http_error_is_retried() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    source.publish(&server.reference("once")).await.unwrap();
    let mut cases = JoinSet::new();
    for kind in ["manifest", "blob"] {
        for status in [401, 408, 429, 500, 502, 503, 504] {
            let upstream = server.address.clone();
            cases.spawn(async move {
                let target = TestStore::empty();
                // The first blob is the config.
                let which = usize::from(kind == "blob");
                let proxy = Proxy::start(&upstream, move |request| {
                    if request.kind() == kind && request.number == which {
                        Fault::Status(status, headers(status))
                    } else {
                        Fault::None
                    }
                });
                let outcome = target.pull(&proxy.reference("once")).await;
                outcome.unwrap_or_else(|error| panic!("{kind} {status}: {}", chain(&error)));
                target.assert_intact();
            });
        }
    }
    cases.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured_up_to_a_bound() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    source.publish(&server.reference("retry-after")).await.unwrap();
    for kind in ["manifest", "blob"] {
        let target = TestStore::empty();
        let proxy = Proxy::start(&server.address, move |request| match request.number {
            0 if request.kind() == kind => Fault::Status(429, "Retry-After: 3\r\n"),
            _ => Fault::None,
        });
        let start = Instant::now();
        target.pull(&proxy.reference("retry-after")).await.unwrap();
        assert!(
            start.elapsed() >= Duration::from_secs(3),
            "{kind}: {:?}",
            start.elapsed()
        );
    }
    let target = TestStore::empty();
    let date = Timestamp::now() + SignedDuration::from_secs(5);
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
    let header: &str = Box::leak(format!("Retry-After: {date}\r\n").into_boxed_str());
    let proxy = Proxy::start(&server.address, move |request| {
        match (request.kind(), request.number) {
            ("manifest", 0) => Fault::Status(503, header),
            _ => Fault::None,
        }
    });
    let start = Instant::now();
    target.pull(&proxy.reference("retry-after")).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    let target = TestStore::empty();
    let proxy = Proxy::start(&server.address, |_| Fault::Status(429, "Retry-After: 3600\r\n"));
    let start = Instant::now();
    let error = chain(&target.pull(&proxy.reference("retry-after")).await.unwrap_err());
    assert!(error.contains("it asks to retry after 3600 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_publish_changes_nothing() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let mut cases = JoinSet::new();
    for kind in ["upload", "publish"] {
        for (status, expected) in [
            (401, "refuses to take"),
            (403, "refuses to take"),
            (503, "status 503"),
        ] {
            let upstream = server.address.clone();
            let store = source.store.clone();
            cases.spawn(async move {
                let proxy = Proxy::start(&upstream, move |request| {
                    if request.kind() == kind {
                        Fault::Status(status, "")
                    } else {
                        Fault::None
                    }
                });
                let repository = format!("refused/{kind}-{status}");
                let reference = proxy.reference(&repository);
                let (tag, options) = (crate::fixture::tag(), crate::fixture::options());
                let publish = || parbake_artifact::registry::publish(&store, &tag, &reference, &options);
                let error = chain(&publish().await.unwrap_err());
                assert!(error.contains(expected), "{kind} {status}: {error}");
                let target = TestStore::empty();
                let error = chain(&target.pull(&reference).await.unwrap_err());
                assert!(error.contains("not found"), "{kind} {status}: {error}");
                proxy.heal();
                publish().await.unwrap();
                target.pull(&reference).await.unwrap();
                target.assert_intact();
            });
        }
    }
    cases.join_all().await;
}
