//! Tests of blobs that come in pieces.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;

use super::super::StoreError;
use super::open;
use crate::digest::Digest;
use crate::manifest::BlobRef;

const BYTES: &[u8] = b"all of the blob";

#[test]
fn goes_on_where_it_was() {
    let (_temp, store) = open();
    let (digest, size) = (Digest::of(BYTES), BYTES.len() as u64);
    let mut partial = store.partial_blob(&digest, size).unwrap().unwrap();
    partial.append(&BYTES[..4]).unwrap();
    drop(partial);
    assert!(!store.has_blob(&digest, size).unwrap());

    let mut partial = store.partial_blob(&digest, size).unwrap().unwrap();
    assert_eq!(partial.length(), 4);
    partial.append(&BYTES[4..]).unwrap();
    partial.finish().unwrap().keep().unwrap();
    assert!(store.has_blob(&digest, size).unwrap());
    assert!(store.partial_blob(&digest, size).unwrap().is_none());
}

#[test]
fn keeps_nothing_wrong() {
    let (_temp, mut store) = open();
    let (digest, size) = (Digest::of(BYTES), BYTES.len() as u64);
    let mut partial = store.partial_blob(&digest, size).unwrap().unwrap();
    partial.append(&[0; BYTES.len()]).unwrap();
    let error = partial.finish().unwrap_err();
    assert!(matches!(error, StoreError::WrongBlob { .. }), "{error}");
    assert!(!store.has_blob(&digest, size).unwrap());

    // Nor what is longer than it may be, and what is forgotten.
    let part = store.tmp().join(format!("{}.part", digest.hex()));
    fs::write(&part, [1; 64]).unwrap();
    let mut partial = store.partial_blob(&digest, size).unwrap().unwrap();
    assert_eq!(partial.length(), 0);
    partial.append(b"wrong").unwrap();
    partial.restart().unwrap();
    partial.append(BYTES).unwrap();
    partial.finish().unwrap().keep().unwrap();

    fs::write(&part, "left over").unwrap();
    let swept = store
        .exclusive()
        .unwrap()
        .sweep(&BTreeSet::from([digest]))
        .unwrap();
    assert_eq!(swept.leftovers, 1);
    assert!(!part.exists());
}

#[test]
fn a_delta_is_used_and_gone() {
    let (_temp, store) = open();
    let (delta, blob) = (BlobRef::of(BYTES), BlobRef::of(b"what it makes"));
    let mut partial = store.partial_delta(&delta, &blob).unwrap().unwrap();
    partial.append(BYTES).unwrap();
    assert_eq!(store.partial_length(&delta.digest), delta.size);
    let mut read = Vec::new();
    let whole = partial.finish().unwrap();
    whole.used(|file| file.read_to_end(&mut read)).unwrap().unwrap();
    assert_eq!(read, BYTES);
    assert_eq!(store.partial_length(&delta.digest), 0);
    assert!(!store.has_blob(&delta.digest, delta.size).unwrap());
    // Nobody needs it when its blob is there.
    store.put_document(b"what it makes").unwrap();
    assert!(store.partial_delta(&delta, &blob).unwrap().is_none());
}
