//! Connections that break.

use tokio::task::JoinSet;

use crate::proxy::{Fault, Meter, Proxy};
use crate::server::Server;
use crate::small::{Place, chain};

/// How many times a transfer is cut: every 5 %.
const PARTS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_survives_a_cut_at_every_twentieth() {
    let (server, source, target) = (Server::start(), Place::with_artifact(), Place::empty());
    source.publish(&server.reference("cut")).await.unwrap();
    let meter = Meter::new(source.size().div_ceil(PARTS), false);
    let cutting = meter.clone();
    let proxy = Proxy::start(&server.address, move |request| match request.kind() {
        "blob" => Fault::Metered(cutting.clone()),
        _ => Fault::None,
    });
    let pulled = target.pull(&proxy.reference("cut")).await.unwrap();
    assert!(
        meter.cuts() >= PARTS - 1,
        "it was cut only {} times",
        meter.cuts()
    );
    // It went on each time where it was; nothing but what was lost on the way comes twice.
    assert!(
        pulled.stats.transferred < source.size() * 5 / 4,
        "{:?}",
        pulled.stats
    );
    target.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_goes_away_in_the_middle_is_one_error_and_the_next_pull_goes_on() {
    let (server, source) = (Server::start(), Place::with_artifact());
    source.publish(&server.reference("gone")).await.unwrap();
    let size = source.size();
    let mut cases = JoinSet::new();
    for part in 1..PARTS {
        let upstream = server.address.clone();
        cases.spawn(async move {
            let target = Place::empty();
            let meter = Meter::new(size * part / PARTS, true);
            let proxy = Proxy::start(&upstream, move |request| match request.kind() {
                "blob" if meter.cuts() > 0 => Fault::HangUp,
                "blob" => Fault::Metered(meter.clone()),
                _ => Fault::None,
            });
            let reference = proxy.reference("gone");
            let error = chain(&target.pull(&reference).await.unwrap_err());
            assert!(
                error.contains("registry") && error.contains(&proxy.address()),
                "{error}"
            );
            target.check_without();
            proxy.heal();
            let pulled = target.pull(&reference).await.unwrap();
            assert_eq!(
                pulled.stats.transferred + pulled.stats.skipped,
                size,
                "{part}: {:?}",
                pulled.stats
            );
            assert!(pulled.stats.skipped > 0, "{part}: nothing was kept");
            target.check();
        });
    }
    cases.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_survives_uploads_that_break() {
    let (server, source, target) = (Server::start(), Place::with_artifact(), Place::empty());
    let proxy = Proxy::start(&server.address, |request| {
        match (request.kind(), request.number) {
            ("upload", 1 | 4) => Fault::CutUpload(100_000),
            ("upload", 2) | ("publish", 0) => Fault::HangUp,
            _ => Fault::None,
        }
    });
    source.publish(&proxy.reference("broken")).await.unwrap();
    target.pull(&server.reference("broken")).await.unwrap();
    target.check();
}
