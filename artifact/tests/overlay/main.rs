//! Random trees on a real overlayfs survive packing and unpacking, alone and as part of a stack.
//!
//! Needs root. Runs in its own mount namespace, so that no mount outlives it.

#![allow(clippy::unwrap_used, reason = "a test: whatever fails, fails it")]

mod operations;
mod sandbox;
mod scan;
mod showcase;

use std::fs;
use std::path::{Path, PathBuf};

use parbake_artifact::PackOptions;
use parbake_artifact::layer::{pack, unpack, verify};
use proptest::collection::vec;
use proptest::test_runner::{Config, TestError, TestRunner};

use operations::{Operation, operation};
use sandbox::{Overlay, in_own_mounts};
use scan::{Tree, scan, scan_merged};

/// Default of `PROPTEST_CASES`.
const CASES: u32 = 100;

#[test]
fn random_trees_survive_the_round_trip() {
    in_own_mounts(|| {
        let chosen = std::env::var_os("PROPTEST_CASES").is_some();
        let defaults = Config::default();
        let cases = if chosen { defaults.cases } else { CASES };
        let mut runner = TestRunner::new(Config {
            cases,
            max_shrink_iters: 100,
            failure_persistence: None,
            ..defaults
        });
        let input = (
            vec(operation(), 5..30),
            vec(operation(), 5..40),
            vec(operation(), 0..15),
        );
        let outcome = runner.run(&input, |(below, first, second)| {
            let all = |operations: Vec<Operation>| {
                move |root: &Path| operations.iter().for_each(|operation| operation.apply(root))
            };
            round_trip(&all(below), &[&all(first), &all(second)]);
            Ok(())
        });
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(reason, (below, first, second))) => {
                panic!("{reason}\nlower tree: {below:#?}\nfirst mount: {first:#?}\nsecond mount: {second:#?}")
            }
            Err(TestError::Abort(reason)) => panic!("{reason}"),
        }
    });
}

/// A tree with every feature, so that none depends on random input.
#[test]
fn every_operation_survives_the_round_trip() {
    in_own_mounts(|| {
        let upper = round_trip(&showcase::below, &[&showcase::above]);
        let found = |what: fn(&scan::Node) -> bool| upper.values().any(what);
        assert!(found(|node| node.kind == "whiteout"), "a deletion is a whiteout");
        assert!(found(|node| node.is_opaque()), "a replaced directory is opaque");
        assert!(
            found(|node| node.kind == "file" && node.allocated * 2 < node.size),
            "a sparse file"
        );
        assert!(
            found(|node| node.xattrs.contains_key(&b"security.capability"[..])),
            "a capability"
        );
        assert!(found(|node| node.names.len() > 1), "a hard link");
        for kind in ["fifo", "symlink"] {
            assert!(upper.values().any(|node| node.kind == kind), "a {kind}");
        }
    });
}

/// Builds a lower tree, changes it through an overlay that is mounted again for each change, packs and unpacks the upper directory,
/// and compares.
fn round_trip(below: &dyn Fn(&Path), changes: &[&dyn Fn(&Path)]) -> Tree {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    for name in ["base", "upper", "work", "merged", "unpacked"] {
        fs::create_dir(at(name)).unwrap();
    }
    below(&at("base"));
    let writable = || Overlay::writable(&[at("base")], &at("upper"), &at("work"), &at("merged"));
    for change in changes {
        let _overlay = writable();
        change(&at("merged"));
    }
    let overlay = writable();
    let before = scan_merged(&at("merged"));
    drop(overlay);

    let (blob, packed) = pack(&at("upper"), Vec::new(), &PackOptions::default()).unwrap();
    assert!(packed.exact);
    let layer = packed.layer("upper");
    unpack(&blob[..], &layer, &at("unpacked")).unwrap();

    let upper = scan(&at("upper"));
    scan::assert_equal(&upper, &scan(&at("unpacked")));
    for tree in ["upper", "unpacked"] {
        let verification = verify(&blob[..], &layer, &at(tree)).unwrap();
        assert_eq!(verification.mismatches, [], "{tree}");
    }
    assert_eq!(
        merged_view(&[at("unpacked"), at("base")], &at("merged")),
        before,
        "as part of a stack"
    );
    let (_, repacked) = pack(&at("unpacked"), Vec::new(), &PackOptions::default()).unwrap();
    assert_eq!(repacked, packed, "equal trees give equal bytes");
    upper
}

fn merged_view(lower: &[PathBuf], merged: &Path) -> Tree {
    let _overlay = Overlay::read_only(lower, merged);
    scan_merged(merged)
}
