use std::collections::BTreeMap;

use super::{Archive, Lock, PinnedAddon};
use crate::provider::Recipe;
use crate::provider::tests::recipe;

const SAMPLE: &str = include_str!("../../../testdata/lock-v1.toml");

#[test]
fn sample_of_version_1_is_parsed() {
    let lock = Lock::parse(SAMPLE).unwrap();
    assert_eq!(
        (lock.architecture.as_str(), lock.suite.as_str()),
        ("amd64", "bookworm")
    );
    let os = lock.set("os");
    assert_eq!(
        os.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(),
        ["containerd", "runc"]
    );
    assert_eq!((os[0].archive, os[1].archive), (Archive::Security, Archive::Main));
    assert_eq!(os[0].size, 25950104);
    assert!(lock.set("image/none").is_empty());
}

#[test]
fn text_survives_a_round_trip() {
    assert_eq!(Lock::parse(SAMPLE).unwrap().to_text("k8s-1.34").unwrap(), SAMPLE);
}

#[test]
fn invalid_locks_are_rejected() {
    let cases = [
        (
            "version = 1",
            "version = 2",
            "format version 2 is not supported; this parbake knows version 1",
        ),
        (
            "name = \"runc\"",
            "name = \"runk\"",
            "set `os` names the package `runc`, which is not in the lock",
        ),
        (
            "name = \"runc\"",
            "name = \"containerd\"",
            "there are two packages named `containerd`",
        ),
        ("\"bb", "\"xb", "is not a SHA-256 digest"),
        (
            "pool/main/r/",
            "pool/../r/",
            "is not the name of a file below `pool/`",
        ),
        ("suite =", "sweet =", "unknown field `sweet`"),
    ];
    for (from, to, expected) in cases {
        assert!(SAMPLE.contains(from), "{from}");
        let error = Lock::parse(&SAMPLE.replacen(from, to, 1))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn lock_is_out_of_date_after_a_change_of_the_provider() {
    let lock = Lock::parse(SAMPLE).unwrap();
    let mut recipe = recipe();
    recipe.default_packages = vec!["containerd".into()];
    recipe.images.clear();
    let difference = |lock: &Lock, recipe: &Recipe, addons: &[(&str, &str)]| {
        let addons = addons.iter().map(|(name, sha256)| {
            let pinned = PinnedAddon {
                version: None,
                sha256: (*sha256).to_owned(),
                images: BTreeMap::new(),
            };
            ((*name).to_owned(), pinned)
        });
        lock.difference(
            recipe,
            &recipe.package_sets(),
            &addons.collect::<BTreeMap<_, _>>(),
        )
    };
    assert_eq!(difference(&lock, &recipe, &[]), None);
    assert_eq!(
        difference(&lock, &recipe, &[("storage", "ab")]).unwrap(),
        "the add-on `storage` has changed"
    );
    recipe.default_packages.push("socat".into());
    let changed = difference(&lock, &recipe, &[]).unwrap();
    assert_eq!(changed, "the requested packages of the set `os` have changed");
    recipe.os.suite = "trixie".into();
    assert_eq!(
        difference(&lock, &recipe, &[]).unwrap(),
        "it is for `bookworm`, not for `trixie`"
    );
}
