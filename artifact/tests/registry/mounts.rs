//! Mounting blobs from another repository of the registry.

use crate::fixture::TestStore;
use crate::proxy::{Fault, Proxy};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_the_origin_are_mounted() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let proxy = Proxy::start(&server.address, |_| Fault::None);
    source.publish(&server.reference("origin")).await.unwrap();
    let (middle, target) = (TestStore::empty(), TestStore::empty());
    middle.pull(&proxy.reference("origin")).await.unwrap();
    let published = middle.publish(&proxy.reference("copies/small")).await.unwrap();
    assert_eq!(published.stats.transferred, 0);
    assert_eq!(published.stats.skipped, source.size());
    assert!(!published.unchanged);
    let seen = proxy.seen();
    let uploads: Vec<_> = seen.iter().filter(|request| request.kind() == "upload").collect();
    assert_eq!(uploads.len(), 4, "the config and three layers");
    assert!(
        uploads
            .iter()
            .all(|request| request.method == "POST" && request.path.contains("from=origin"))
    );
    target.pull(&server.reference("copies/small")).await.unwrap();
    target.assert_intact();
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_sent_where_mounting_fails() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    source.publish(&server.reference("origin")).await.unwrap();
    let location = "Location: /v2/copies/elsewhere\r\n";
    for (number, fault) in [
        Fault::Status(202, location),
        Fault::Status(403, ""),
        Fault::Status(404, ""),
        Fault::Status(405, ""),
    ]
    .into_iter()
    .enumerate()
    {
        let proxy = Proxy::start(&server.address, move |request| {
            if request.path.contains("mount=") {
                fault.clone()
            } else {
                Fault::None
            }
        });
        let (middle, target) = (TestStore::empty(), TestStore::empty());
        middle.pull(&proxy.reference("origin")).await.unwrap();
        let copy = format!("copies/{number}");
        let published = middle.publish(&proxy.reference(&copy)).await.unwrap();
        assert_eq!(published.stats.transferred, source.size());
        target.pull(&server.reference(&copy)).await.unwrap();
        target.assert_intact();
    }
}
