//! Interrupted connections.

use tokio::task::JoinSet;

use crate::fixture::{TestStore, chain};
use crate::proxy::{Fault, Meter, Proxy};
use crate::server::Server;

/// A transfer is cut after every twentieth of its bytes.
const PARTS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn pull_survives_many_cuts() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    source.publish(&server.reference("cut")).await.unwrap();
    let meter = Meter::new(source.size().div_ceil(PARTS), false);
    let cutting = meter.clone();
    let proxy = Proxy::start(&server.address, move |request| match request.kind() {
        "blob" => Fault::Metered(cutting.clone()),
        _ => Fault::None,
    });
    let pulled = target.pull(&proxy.reference("cut")).await.unwrap();
    assert!(meter.cuts() >= PARTS - 1, "only {} cuts", meter.cuts());
    // Every cut was followed by a resumed transfer; only bytes lost in transit were sent twice.
    assert!(
        pulled.stats.transferred < source.size() * 5 / 4,
        "{:?}",
        pulled.stats
    );
    target.assert_intact();
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_that_disappears_is_one_error_and_the_next_pull_resumes() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    source.publish(&server.reference("disappears")).await.unwrap();
    let size = source.size();
    let mut cases = JoinSet::new();
    for part in 1..PARTS {
        let upstream = server.address.clone();
        cases.spawn(async move {
            let target = TestStore::empty();
            let meter = Meter::new(size * part / PARTS, true);
            let proxy = Proxy::start(&upstream, move |request| match request.kind() {
                "blob" if meter.cuts() > 0 => Fault::HangUp,
                "blob" => Fault::Metered(meter.clone()),
                _ => Fault::None,
            });
            let reference = proxy.reference("disappears");
            let error = chain(&target.pull(&reference).await.unwrap_err());
            assert!(
                error.contains("registry") && error.contains(&proxy.address()),
                "{error}"
            );
            target.assert_no_artifact();
            proxy.heal();
            let pulled = target.pull(&reference).await.unwrap();
            assert_eq!(
                pulled.stats.transferred + pulled.stats.skipped,
                size,
                "{part}: {:?}",
                pulled.stats
            );
            assert!(pulled.stats.skipped > 0, "{part}: nothing was kept");
            target.assert_intact();
        });
    }
    cases.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_survives_interrupted_uploads() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    let proxy = Proxy::start(&server.address, |request| {
        match (request.kind(), request.number) {
            ("upload", 1 | 4) => Fault::CutUpload(100_000),
            ("upload", 2) | ("publish", 0) => Fault::HangUp,
            _ => Fault::None,
        }
    });
    source.publish(&proxy.reference("broken")).await.unwrap();
    target.pull(&server.reference("broken")).await.unwrap();
    target.assert_intact();
}
