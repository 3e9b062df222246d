//! Layers that are rebuilt from deltas, and deltas that are missing, damaged or malicious.

use std::fs;
use std::time::Duration;

use parbake_artifact::registry::{Options, PublishOptions, Published, Pulled, publish_with, pull};
use parbake_artifact::{Digest, Layer, Reference};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::fixture::{TestStore, older, options, tag};
use crate::proxy::{Fault, Proxy};
use crate::server::Server;

const ARTIFACT_TYPE: &str = "application/vnd.parbake.delta.v1";

pub(crate) async fn publish_deltas(source: &TestStore, reference: &Reference) -> Published {
    let extras = PublishOptions {
        delta_from: &[older()],
        ..PublishOptions::default()
    };
    publish_with(&source.store, &tag(), reference, &options(), extras)
        .await
        .unwrap()
}

/// The titles of the changed layers.
const CHANGED: [&str; 2] = ["os", "images"];

fn changed(source: &TestStore) -> Vec<Layer> {
    let layers = source.store.get(&tag()).unwrap().layers;
    let changed = layers.into_iter();
    changed
        .filter(|layer| CHANGED.contains(&&layer.title[..]))
        .collect()
}

fn size(layers: &[Layer]) -> u64 {
    layers.iter().map(|layer| layer.size).sum()
}

/// Asserts that the artifact is complete without the use of deltas.
fn assert_downloaded_in_full(target: &TestStore, pulled: &Pulled, source: &TestStore) {
    target.assert_both_intact();
    assert_eq!(pulled.stats.rebuilt, 0);
    let full = size(&changed(source));
    assert!(pulled.stats.transferred > full, "{:?}", pulled.stats);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_changes_are_small_transfers() {
    let (server, source) = (Server::start(), TestStore::with_both());
    let reference = server.reference("deltas");
    let published = publish_deltas(&source, &reference).await;
    let [deltas] = &published.deltas[..] else {
        panic!("{published:?}");
    };
    let full = size(&changed(&source));
    assert_eq!((deltas.layers, deltas.layer_bytes), (2, Some(full)));
    assert!(deltas.bytes < full / 6, "{deltas:?}");

    let target = TestStore::with_older();
    let pulled = target.pull(&reference).await.unwrap();
    target.assert_both_intact();
    assert_eq!(
        (pulled.stats.delta_bytes, pulled.stats.rebuilt),
        (deltas.bytes, full)
    );
    assert!(
        pulled.stats.transferred < deltas.bytes + 10_000,
        "{:?}",
        pulled.stats
    );
    // Used deltas are removed.
    let left = fs::read_dir(target.store.dir().join("tmp")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
    assert!(
        left.iter()
            .all(|path| path.extension().is_some_and(|end| end == "lock")),
        "{left:?}"
    );

    // Deltas are not used if disabled, or if there are no older layers.
    let (disabled, empty) = (TestStore::with_older(), TestStore::empty());
    let without = Options {
        deltas: false,
        ..options()
    };
    let pulled = pull(&disabled.store, &reference, Some(&tag()), &without)
        .await
        .unwrap();
    assert_downloaded_in_full(&disabled, &pulled, &source);
    assert_eq!(empty.pull(&reference).await.unwrap().stats.delta_bytes, 0);
    empty.assert_intact();

    // They are not published a second time.
    let again = publish_deltas(&source, &reference).await;
    assert!(again.unchanged);
    assert_eq!(
        (again.deltas[0].bytes, again.deltas[0].layer_bytes),
        (deltas.bytes, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_downloaded_in_full_without_intact_older_layers() {
    let (server, source) = (Server::start(), TestStore::with_both());
    let reference = server.reference("other");
    publish_deltas(&source, &reference).await;
    let (removed, damaged) = (TestStore::with_older(), TestStore::with_older());
    for layer in removed.store.get(&older()).unwrap().layers {
        // Only the blob, not the unpacked layer.
        fs::remove_file(removed.store.blob_path(&layer.digest)).unwrap();
    }
    let pulled = removed.pull(&reference).await.unwrap();
    assert_eq!(pulled.stats.delta_bytes, 0);
    removed.store.verify(&tag()).unwrap();
    for layer in damaged.store.get(&older()).unwrap().layers {
        let path = damaged.store.blob_path(&layer.digest);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let pulled = damaged.pull(&reference).await.unwrap();
    assert_eq!(pulled.stats.rebuilt, 0);
    damaged.store.verify(&tag()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_downloaded_in_full_after_a_failed_delta() {
    let (server, source) = (Server::start(), TestStore::with_both());
    publish_deltas(&source, &server.reference("broken")).await;
    let subject = source.store.get(&tag()).unwrap().digest;
    let deltas = listed(&server, "broken", &subject).await;
    let blobs: Vec<_> = deltas[0]["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(digest)
        .collect();
    assert_eq!(blobs.len(), 2);
    let cases = [
        (Fault::Flip(5_000), false),
        (Fault::Truncate(10), false),
        (Fault::Status(404, ""), false),
        (Fault::Header("x-nothing: wrong"), true),
    ];
    for (fault, whole) in cases {
        let (target, blobs) = (TestStore::with_older(), blobs.clone());
        let proxy = Proxy::start(&server.address, move |request| {
            match blobs.iter().any(|blob| request.path.ends_with(blob)) && request.method == "GET" {
                true => fault.clone(),
                false => Fault::None,
            }
        });
        let pulled = target.pull(&proxy.reference("broken")).await.unwrap();
        if whole {
            assert!(pulled.stats.rebuilt > 0);
            target.assert_both_intact();
        } else {
            assert_downloaded_in_full(&target, &pulled, &source);
        }
    }
    // An interrupted delta resumes.
    let (target, cut) = (TestStore::with_older(), blobs.clone());
    let proxy = Proxy::start(&server.address, move |request| {
        let delta = cut.iter().any(|blob| request.path.ends_with(blob));
        match delta && !request.head.contains("\r\nrange:") {
            true => Fault::Cut(20_000),
            false => Fault::None,
        }
    });
    let pulled = target.pull(&proxy.reference("broken")).await.unwrap();
    target.assert_both_intact();
    assert_eq!(pulled.stats.rebuilt, size(&changed(&source)));
    // The referrers API fails; the list is under a tag, too.
    let target = TestStore::with_older();
    let proxy = Proxy::start(&server.address, |request| {
        match request.path.contains("/referrers/") {
            true => Fault::Status(500, ""),
            false => Fault::None,
        }
    });
    let reference = proxy.reference("broken");
    let pulled = target.pull(&reference).await.unwrap();
    assert!(pulled.stats.rebuilt > 0);
    target.assert_both_intact();
}

/// Small deltas that yield other bytes, or far too many.
#[tokio::test(flavor = "multi_thread")]
async fn malicious_deltas_are_not_used() {
    let (server, source) = (Server::start(), TestStore::with_both());
    let piece = zstd::bulk::compress(&vec![0; 4 << 20], 1).unwrap();
    let zeros = zstd::bulk::compress(&vec![0; 100_000], 1).unwrap();
    let header = |start: u64, frame: &[u8]| {
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        [&start.to_le_bytes(), &length[..], frame].concat()
    };
    let magic = b"parbake delta 1\n".to_vec();
    // Would yield gigabytes of zeros.
    let bomb = [magic.clone(), header(0, &piece).repeat(800)].concat();
    let cases = [
        ("other-bytes", [magic.clone(), header(0, &zeros)].concat()),
        ("bomb", bomb),
        ("far", [magic.clone(), header(u64::MAX, &piece)].concat()),
        ("nothing", magic.clone()),
        ("no-delta", b"#!/bin/sh\n".to_vec()),
        ("empty", Vec::new()),
    ];
    for (name, delta) in cases {
        let reference = server.reference(name);
        source.publish(&reference).await.unwrap();
        publish_malicious(&server, name, &source, &delta).await;
        let target = TestStore::with_older();
        let pulled = timeout(Duration::from_secs(60), target.pull(&reference)).await;
        let pulled = pulled.unwrap().unwrap();
        assert_downloaded_in_full(&target, &pulled, &source);
        // The deltas were downloaded, too.
        let least = size(&changed(&source)) + 2 * delta.len() as u64;
        assert!(pulled.stats.transferred >= least, "{name}: {:?}", pulled.stats);
    }
}

/// The delta manifests that are listed for a manifest.
async fn listed(server: &Server, repository: &str, subject: &Digest) -> Vec<Value> {
    let url = |kind: &str, which: &str| format!("http://{}/v2/{repository}/{kind}/{which}", server.address);
    let client = Client::new();
    let tag = subject.as_str().replace(':', "-");
    let mut index = client
        .get(url("referrers", subject.as_str()))
        .send()
        .await
        .unwrap();
    if index.status() == StatusCode::NOT_FOUND {
        index = client
            .get(url("manifests", &tag))
            .header("accept", INDEX)
            .send()
            .await
            .unwrap();
    }
    let index: Value = serde_json::from_slice(&index.bytes().await.unwrap()).unwrap();
    let mut all = Vec::new();
    for entry in index["manifests"].as_array().unwrap() {
        if entry["artifactType"] == ARTIFACT_TYPE {
            let manifest = client
                .get(url("manifests", &digest(entry)))
                .header("accept", MANIFEST)
                .send()
                .await;
            all.push(serde_json::from_slice(&manifest.unwrap().bytes().await.unwrap()).unwrap());
        }
    }
    all
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(entry: &Value) -> String {
    entry["digest"].as_str().unwrap().to_owned()
}

/// Publishes `delta` for all changed layers.
async fn publish_malicious(server: &Server, repository: &str, source: &TestStore, delta: &[u8]) {
    let client = Client::new();
    let base = format!("http://{}/v2/{repository}", server.address);
    let send = async |bytes: &[u8]| {
        let start = client
            .post(format!("{base}/blobs/uploads/"))
            .send()
            .await
            .unwrap();
        let location = start.headers()["location"].to_str().unwrap().to_owned();
        let digest = Digest::of(bytes);
        let url = format!("{location}&digest={digest}");
        let sent = client.put(url).body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(sent.status(), StatusCode::CREATED);
        json!({"digest": digest.as_str(), "size": bytes.len()})
    };
    let with = |mut descriptor: Value, more: Value| {
        let more = more.as_object().unwrap().clone();
        descriptor.as_object_mut().unwrap().extend(more);
        descriptor
    };
    let empty = with(
        send(b"{}").await,
        json!({"mediaType": "application/vnd.oci.empty.v1+json"}),
    );
    let sent = send(delta).await;
    let older = source.store.get(&older()).unwrap();
    let layers: Vec<_> = changed(source)
        .iter()
        .map(|layer| {
            let old = older.layers.iter().find(|old| old.title == layer.title).unwrap();
            let annotations = json!({
                "dev.parbake.delta.from": old.digest.as_str(),
                "dev.parbake.delta.to": layer.digest.as_str(),
            });
            let more =
                json!({"mediaType": "application/vnd.parbake.delta.layer.v1", "annotations": annotations});
            with(sent.clone(), more)
        })
        .collect();
    let (subject, bytes) = source.store.manifest_bytes(&tag()).unwrap();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": empty,
        "layers": layers,
        "subject": {"mediaType": MANIFEST, "digest": subject.as_str(), "size": bytes.len()},
    });
    let manifest = manifest.to_string();
    let put = async |which: &str, kind: &str, text: &str| {
        let put = client
            .put(format!("{base}/manifests/{which}"))
            .header("content-type", kind);
        put.body(text.to_owned()).send().await.unwrap()
    };
    let own = Digest::of(manifest.as_bytes());
    let response = put(own.as_str(), MANIFEST, &manifest).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    if !response.headers().contains_key("oci-subject") {
        let entry = json!({"mediaType": MANIFEST, "digest": own.as_str(), "size": manifest.len(), "artifactType": ARTIFACT_TYPE});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string();
        let response = put(&subject.as_str().replace(':', "-"), INDEX, &index).await;
        assert_eq!(response.status(), StatusCode::CREATED);
    }
}
