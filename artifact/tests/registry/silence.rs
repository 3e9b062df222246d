//! Registries that say nothing more, and never hang up.

use std::time::{Duration, Instant};

use parbake_artifact::registry::{Options, publish, pull};
use tokio::task::JoinSet;

use crate::proxy::{Fault, Proxy};
use crate::server::Server;
use crate::small::{Place, chain, options, tag};

fn impatient() -> Options {
    Options {
        timeout: Duration::from_millis(400),
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_while_it_should_send_is_not_waited_out() {
    let (server, source) = (Server::start(), Place::with_artifact());
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
            let target = Place::empty();
            let proxy = Proxy::start(&upstream, move |request| {
                if request.kind() == kind && request.number < times {
                    Fault::Silence(bytes)
                } else {
                    Fault::None
                }
            });
            let reference = proxy.reference("silent");
            let tag = tag();
            let start = Instant::now();
            let outcome = pull(&target.store, &reference, Some(&tag), &impatient()).await;
            assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
            if times == usize::MAX {
                let error = chain(&outcome.unwrap_err());
                assert!(error.contains("timed out"), "{error}");
                target.check_without();
                proxy.heal();
                target.pull(&reference).await.unwrap();
            } else {
                outcome.unwrap();
            }
            target.check();
        });
    }
    cases.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_while_it_should_take_is_not_waited_out() {
    let (server, source, target) = (Server::start(), Place::with_artifact(), Place::empty());
    let reads_no_more = |proxy: &Proxy| proxy.seen().iter().filter(|seen| seen.kind() == "upload").count();
    let proxy = Proxy::start(&server.address, |request| {
        match (request.kind(), request.number) {
            // The first ones begin uploads, those with a body come then.
            ("upload", number) if request.method == "PUT" && number < 8 => Fault::StuckUpload(1000),
            _ => Fault::None,
        }
    });
    let (reference, tag) = (proxy.reference("stuck"), tag());
    publish(&source.store, &tag, &reference, &impatient())
        .await
        .unwrap();
    assert!(reads_no_more(&proxy) > 8, "nothing was tried again");
    target.pull(&reference).await.unwrap();
    target.check();
}
