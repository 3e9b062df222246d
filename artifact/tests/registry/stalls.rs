//! Registries that stall and keep the connection open.

use std::time::{Duration, Instant};

use parbake_artifact::registry::{Options, publish, pull};
use tokio::task::JoinSet;

use crate::fixture::{TestStore, chain, options, tag};
use crate::proxy::{Fault, Proxy};
use crate::server::Server;

fn short_timeout() -> Options {
    Options {
        timeout: Duration::from_millis(400),
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_download_is_aborted_and_retried() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    source.publish(&server.reference("silent")).await.unwrap();
    let mut cases = JoinSet::new();
    for (kind, bytes, times) in [
        ("manifest", 0, 1),
        ("manifest", 10, 1),
        ("blob", 0, 2),
        ("blob", 500_000, 2),
        ("blob", 0, usize::MAX),
    ] {
        let upstream = server.address.clone();
        cases.spawn(async move {
            let target = TestStore::empty();
            let proxy = Proxy::start(&upstream, move |request| {
                if request.kind() == kind && request.number < times {
                    Fault::Stall(bytes)
                } else {
                    Fault::None
                }
            });
            let reference = proxy.reference("silent");
            let tag = tag();
            let start = Instant::now();
            let outcome = pull(&target.store, &reference, Some(&tag), &short_timeout()).await;
            assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
            if times == usize::MAX {
                let error = chain(&outcome.unwrap_err());
                assert!(error.contains("timed out"), "{error}");
                target.assert_no_artifact();
                proxy.heal();
                target.pull(&reference).await.unwrap();
            } else {
                outcome.unwrap();
            }
            target.assert_intact();
        });
    }
    cases.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_upload_is_aborted_and_retried() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    let uploads = |proxy: &Proxy| proxy.seen().iter().filter(|seen| seen.kind() == "upload").count();
    let proxy = Proxy::start(&server.address, |request| {
        match (request.kind(), request.number) {
            // The first requests start uploads; those with a body follow.
            ("upload", number) if request.method == "PUT" && number < 8 => Fault::StallUpload(1000),
            _ => Fault::None,
        }
    });
    let (reference, tag) = (proxy.reference("stuck"), tag());
    publish(&source.store, &tag, &reference, &short_timeout())
        .await
        .unwrap();
    assert!(uploads(&proxy) > 8, "nothing was retried");
    target.pull(&reference).await.unwrap();
    target.assert_intact();
}
