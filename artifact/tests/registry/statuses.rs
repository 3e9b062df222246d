//! Registries that say no, once and for ever.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::proxy::{Fault, Proxy};
use crate::server::Server;
use crate::small::{Place, chain};

/// What is said when it is said for ever.
const FOR_EVER: [(u16, &str); 6] = [
    (401, "refuses to"),
    (403, "refuses to"),
    (404, "has nothing there"),
    (429, "status 429 (no); it asks to wait 1 s"),
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
async fn a_no_for_ever_is_one_error() {
    let (server, source) = (Server::start(), Place::with_artifact());
    source.publish(&server.reference("no")).await.unwrap();
    let mut cases = JoinSet::new();
    for kind in ["manifest", "blob"] {
        for (status, said) in FOR_EVER {
            let upstream = server.address.clone();
            cases.spawn(async move {
                let target = Place::empty();
                let proxy = Proxy::start(&upstream, move |request| {
                    if request.kind() == kind {
                        Fault::Status(status, headers(status))
                    } else {
                        Fault::None
                    }
                });
                let reference = proxy.reference("no");
                let error = chain(&target.pull(&reference).await.unwrap_err());
                assert!(error.contains(said), "{kind} {status}: {error}");
                let what = if kind == "blob" {
                    "the config"
                } else {
                    "the manifest"
                };
                assert!(error.contains(what), "{kind} {status}: {error}");
                target.check_without();
                proxy.heal();
                target.pull(&reference).await.unwrap();
                target.check();
            });
        }
    }
    cases.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_that_passes_is_survived() {
    let (server, source) = (Server::start(), Place::with_artifact());
    source.publish(&server.reference("once")).await.unwrap();
    let mut cases = JoinSet::new();
    for kind in ["manifest", "blob"] {
        for status in [401, 408, 429, 500, 502, 503, 504] {
            let upstream = server.address.clone();
            cases.spawn(async move {
                let target = Place::empty();
                // The second blob is a layer.
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
                target.check();
            });
        }
    }
    cases.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_gets_the_patience_that_it_asks_for() {
    let (server, source) = (Server::start(), Place::with_artifact());
    source.publish(&server.reference("patience")).await.unwrap();
    for kind in ["manifest", "blob"] {
        let target = Place::empty();
        let proxy = Proxy::start(&server.address, move |request| match request.number {
            0 if request.kind() == kind => Fault::Status(429, "Retry-After: 3\r\n"),
            _ => Fault::None,
        });
        let start = Instant::now();
        target.pull(&proxy.reference("patience")).await.unwrap();
        assert!(
            start.elapsed() >= Duration::from_secs(3),
            "{kind}: {:?}",
            start.elapsed()
        );
    }
    let target = Place::empty();
    let proxy = Proxy::start(&server.address, |_| Fault::Status(429, "Retry-After: 3600\r\n"));
    let start = Instant::now();
    let error = chain(&target.pull(&proxy.reference("patience")).await.unwrap_err());
    assert!(error.contains("it asks to wait 3600 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_refused_changes_nothing() {
    let (server, source) = (Server::start(), Place::with_artifact());
    let mut cases = JoinSet::new();
    for kind in ["upload", "publish"] {
        for (status, said) in [
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
                let (tag, options) = (crate::small::tag(), crate::small::options());
                let publish = || parbake_artifact::registry::publish(&store, &tag, &reference, &options);
                let error = chain(&publish().await.unwrap_err());
                assert!(error.contains(said), "{kind} {status}: {error}");
                let target = Place::empty();
                let error = chain(&target.pull(&reference).await.unwrap_err());
                assert!(error.contains("has nothing there"), "{kind} {status}: {error}");
                proxy.heal();
                publish().await.unwrap();
                target.pull(&reference).await.unwrap();
                target.check();
            });
        }
    }
    cases.join_all().await;
}
