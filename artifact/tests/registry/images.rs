//! Container images, pulled into an OCI layout.

use std::path::Path;

use parbake_artifact::images::Archive;
use parbake_artifact::registry::{Options, check_image, pull_image};
use parbake_artifact::{Digest, Reference, RegistryError};
use serde_json::json;

use crate::fixture::{TestStore, chain};
use crate::proxy::{Fault, Meter, Proxy};
use crate::server::Server;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

async fn pull(reference: &Reference, to: &Path) -> Result<(), RegistryError> {
    let options = Options {
        plain_http: true,
        ..Options::default()
    };
    let names = ["example.org/app:1".to_owned(), "example.org/app:2".to_owned()];
    pull_image(reference, &names, "amd64", &options, to).await
}

/// Publishes an index with the manifest `digest` for one architecture, and returns its digest.
async fn index(
    server: &Server,
    repository: &str,
    digest: &Digest,
    size: usize,
    architecture: &str,
) -> Digest {
    // The first one is for another system.
    let platforms = [("windows", "amd64"), ("linux", architecture)];
    let manifests = platforms.map(|(os, architecture)| {
        json!({
            "mediaType": MANIFEST, "digest": digest, "size": size,
            "platform": {"architecture": architecture, "os": os},
        })
    });
    let text = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": manifests,
    });
    let text = text.to_string();
    let digest = Digest::of(text.as_bytes());
    let url = format!("http://{}/v2/{repository}/manifests/{digest}", server.address);
    let put = reqwest::Client::new()
        .put(url)
        .header("content-type", INDEX)
        .body(text);
    assert!(put.send().await.unwrap().status().is_success());
    digest
}

#[tokio::test(flavor = "multi_thread")]
async fn image_is_complete_under_all_names() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let reference = server.reference("image");
    let published = source.publish(&reference).await.unwrap();
    let to = tempfile::tempdir().unwrap();
    pull(&reference.pinned(&published.digest), to.path())
        .await
        .unwrap();
    let archive = Archive::examine(to.path(), None).unwrap();
    assert_eq!(archive.names(), ["example.org/app:1", "example.org/app:2"]);

    let manifest = to.path().join("blobs/sha256").join(published.digest.hex());
    let size = std::fs::metadata(manifest).unwrap().len() as usize;
    let ours = index(&server, "image", &published.digest, size, "amd64").await;
    let to = tempfile::tempdir().unwrap();
    pull(&reference.pinned(&ours), to.path()).await.unwrap();
    assert_eq!(Archive::examine(to.path(), None).unwrap().names().len(), 2);
    let other = index(&server, "image", &published.digest, size, "s390x").await;
    let to = tempfile::tempdir().unwrap();
    let error = chain(&pull(&reference.pinned(&other), to.path()).await.unwrap_err());
    assert!(error.contains("there is none for amd64"), "{error}");
    // The same without downloading layers.
    let options = Options {
        plain_http: true,
        ..Options::default()
    };
    check_image(&reference.pinned(&ours), "amd64", &options)
        .await
        .unwrap();
    for bad in [&other, &Digest::of(b"absent")] {
        assert!(
            check_image(&reference.pinned(bad), "amd64", &options)
                .await
                .is_err()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_blob_is_refused() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let published = source.publish(&server.reference("image")).await.unwrap();
    for (fault, expected) in [
        (Fault::Flip(0), "sent wrong data for sha256:"),
        (Fault::Overstate(1), "another length"),
        (Fault::Status(404, ""), "could not send sha256:"),
    ] {
        let largest = source.largest().to_string();
        let proxy = Proxy::start(&server.address, move |request| {
            match request.kind() == "blob" && request.path.ends_with(&largest) {
                true => fault.clone(),
                false => Fault::None,
            }
        });
        let to = tempfile::tempdir().unwrap();
        let reference = proxy.reference("image").pinned(&published.digest);
        let error = chain(&pull(&reference, to.path()).await.unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert!(
            !to.path().join("index.json").exists(),
            "an incomplete image has an index"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_pull_of_an_image_resumes() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let published = source.publish(&server.reference("image")).await.unwrap();
    let meter = Meter::new(source.size() / 2, true);
    let proxy = Proxy::start(&server.address, move |request| match request.kind() {
        "blob" if meter.cuts() > 0 => Fault::HangUp,
        "blob" => Fault::Metered(meter.clone()),
        _ => Fault::None,
    });
    let reference = proxy.reference("image").pinned(&published.digest);
    let to = tempfile::tempdir().unwrap();
    let error = chain(&pull(&reference, to.path()).await.unwrap_err());
    assert!(error.contains(&proxy.address()), "{error}");
    proxy.heal();
    let before = proxy.seen().len();
    pull(&reference, to.path()).await.unwrap();
    let seen = proxy.seen();
    let ranges = seen[before..]
        .iter()
        .filter(|request| request.head.contains("range: bytes="));
    assert_eq!(ranges.count(), 1, "nothing was kept");
    assert_eq!(Archive::examine(to.path(), None).unwrap().names().len(), 2);
}
