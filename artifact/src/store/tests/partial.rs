//! Tests of blobs that arrive in pieces.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;

use super::open;
use crate::digest::Digest;
use crate::manifest::BlobRef;
use crate::store::{PartialBlob, Store, WholeBlob};

const BYTES: &[u8] = b"all of the blob";

fn partial(store: &Store, blob: &BlobRef) -> PartialBlob {
    store.partial_blob(&blob.digest, blob.size).unwrap().unwrap()
}

fn complete(mut partial: PartialBlob, digest: &Digest) -> WholeBlob {
    let file = partial.file.complete(digest).unwrap().unwrap();
    partial.complete(file)
}

#[test]
fn interrupted_blob_is_continued() {
    let (_temp, store) = open();
    let blob = BlobRef::of(BYTES);
    partial(&store, &blob).file.append(&BYTES[..4]).unwrap();
    assert!(!store.has_blob(&blob.digest, blob.size).unwrap());

    let mut partial = partial(&store, &blob);
    assert_eq!(partial.file.length(), 4);
    partial.file.append(&BYTES[4..]).unwrap();
    complete(partial, &blob.digest).keep().unwrap();
    assert!(store.has_blob(&blob.digest, blob.size).unwrap());
    assert!(store.partial_blob(&blob.digest, blob.size).unwrap().is_none());
}

#[test]
fn wrong_bytes_are_discarded() {
    let (_temp, mut store) = open();
    let blob = BlobRef::of(BYTES);
    let part = store.tmp().join(format!("{}.part", blob.digest.hex()));
    let mut wrong = partial(&store, &blob);
    wrong.file.append(&[0; BYTES.len()]).unwrap();
    let found = wrong.file.complete(&blob.digest).unwrap().unwrap_err();
    assert_eq!(found, Digest::of(&[0; BYTES.len()]));
    assert!(!part.exists());
    drop(wrong);
    assert!(!store.has_blob(&blob.digest, blob.size).unwrap());

    // So is a file that is too long, and what arrived before a restart.
    fs::write(&part, [1; 64]).unwrap();
    let mut partial = partial(&store, &blob);
    assert_eq!(partial.file.length(), 0);
    partial.file.append(b"wrong").unwrap();
    partial.file.restart().unwrap();
    partial.file.append(BYTES).unwrap();
    complete(partial, &blob.digest).keep().unwrap();

    fs::write(&part, "left over").unwrap();
    let swept = store
        .exclusive()
        .unwrap()
        .sweep(&BTreeSet::from([blob.digest]))
        .unwrap();
    assert_eq!(swept.leftovers, 1);
    assert!(!part.exists());
}

#[test]
fn delta_is_removed_after_use() {
    let (_temp, store) = open();
    let (delta, blob) = (BlobRef::of(BYTES), BlobRef::of(b"the layer"));
    let mut partial = store.partial_delta(&delta, &blob).unwrap().unwrap();
    partial.file.append(BYTES).unwrap();
    assert_eq!(store.partial_length(&delta.digest), delta.size);
    let mut read = Vec::new();
    let whole = complete(partial, &delta.digest);
    whole
        .consume(|file| file.read_to_end(&mut read))
        .unwrap()
        .unwrap();
    assert_eq!(read, BYTES);
    assert_eq!(store.partial_length(&delta.digest), 0);
    assert!(!store.has_blob(&delta.digest, delta.size).unwrap());
    // Nothing is received if the blob is there already.
    store.put_document(b"the layer").unwrap();
    assert!(store.partial_delta(&delta, &blob).unwrap().is_none());
}
