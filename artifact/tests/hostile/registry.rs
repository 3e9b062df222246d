//! A registry that sends an endless manifest.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parbake_artifact::registry::{Options, pull};
use parbake_artifact::{Digest, Reference, Store};

use crate::site::chain;

const LAYER: &str = r#"{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1},"#;

/// Answers a request for a manifest with one of a billion layers, and counts the bytes that are read.
fn answer(connection: TcpStream, sent: &AtomicU64) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut out = connection;
    loop {
        let (mut request, mut line) = (String::new(), String::new());
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
        }
        if !request.contains("/manifests/") {
            let _ = out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            continue;
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n";
        let _ = out.write_all(head.as_bytes());
        let _ = out.write_all(br#"{"schemaVersion":2,"layers":["#);
        for _ in 0..1_000_000_000 {
            if out.write_all(LAYER.as_bytes()).is_err() {
                return;
            }
            sent.fetch_add(LAYER.len() as u64, Ordering::Relaxed);
        }
    }
}

#[test]
fn endless_manifests_are_not_read_to_the_end() {
    let temp = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&temp.path().join("store")).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, counter) = (connection.unwrap(), Arc::clone(&counter));
            std::thread::spawn(move || answer(connection, &counter));
        }
    });
    let options = Options {
        plain_http: true,
        ..Options::default()
    };
    let reference: Reference = format!("{address}/hostile").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime
        .block_on(pull(&store, &reference, None, &options))
        .unwrap_err();
    let error = chain(&error);
    assert!(error.contains("the manifest"), "{error}");
    // The limit of 4 MiB, and the kernel's buffers.
    assert!(sent.load(Ordering::Relaxed) < 64 << 20);
    assert_eq!(store.tags().unwrap(), []);
    assert!(!store.blob_path(&Digest::of(b"")).exists());
    assert_eq!(
        std::fs::read_dir(temp.path().join("store/blobs/sha256"))
            .unwrap()
            .count(),
        0
    );
}
