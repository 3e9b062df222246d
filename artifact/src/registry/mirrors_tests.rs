//! Tests of where a repository may be read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{MirrorError, add, choose, files};
use crate::digest::Digest;

const CONF: &str = r#"
unqualified-search-registries = ["example.org"]
short-name-mode = "permissive"

[[registry]]
location = "example.org"
[[registry.mirror]]
location = "mirror.example.net:5000"
[[registry.mirror]]
location = "localhost:5000/cache"
insecure = true

[[registry]]
prefix = "example.org/inner"
location = "inner.example.org/team"
insecure = true

[[registry]]
prefix = "example.org/closed"
blocked = true
location = "example.org/closed"

[[registry]]
prefix = "*.wild.org"
[[registry.mirror]]
location = "mirror.example.net/wild"

[[registry]]
location = "particular.org:5000"
[[registry.mirror]]
location = "tags.example.net"
pull-from-mirror = "tag-only"
[[registry.mirror]]
location = "digests.example.net"
pull-from-mirror = "digest-only"
"#;

/// The places, `!` behind those that are insecure.
fn places(text: &str, more: &[&str]) -> Result<Vec<String>, MirrorError> {
    let mut entries = BTreeMap::new();
    for conf in [CONF].iter().chain(more) {
        add(&mut entries, Path::new("registries.conf"), conf).unwrap();
    }
    let places = choose(&entries, &text.parse().unwrap())?;
    let spelled = |place: super::Place| {
        let mark = if place.insecure { "!" } else { "" };
        format!("{}{mark}", place.reference)
    };
    Ok(places
        .mirrors
        .into_iter()
        .chain([places.own])
        .map(spelled)
        .collect())
}

#[test]
fn mirrors_come_first() {
    let cases: [(&str, &[&str]); 6] = [
        ("example.com/a", &["example.com/a:latest"]),
        (
            "example.org/a/b:v5",
            &[
                "mirror.example.net:5000/a/b:v5",
                "localhost:5000/cache/a/b:v5!",
                "example.org/a/b:v5",
            ],
        ),
        ("example.org:5000/a", &["example.org:5000/a:latest"]),
        ("example.organic/a", &["example.organic/a:latest"]),
        ("example.org/inner/a", &["inner.example.org/team/a:latest!"]),
        (
            "deep.in.wild.org/a",
            &["mirror.example.net/wild/a:latest", "deep.in.wild.org/a:latest"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(places(text, &[]).unwrap(), expected, "{text}");
    }
}

#[test]
fn some_mirrors_are_for_some() {
    let digest = Digest::of(b"manifest");
    let pinned = format!("particular.org:5000/a@{digest}");
    let expected = [format!("digests.example.net/a@{digest}"), pinned.clone()];
    assert_eq!(places(&pinned, &[]).unwrap(), expected);
    let expected = ["tags.example.net/a:v5", "particular.org:5000/a:v5"];
    assert_eq!(places("particular.org:5000/a:v5", &[]).unwrap(), expected);
}

#[test]
fn later_files_are_above() {
    let later = "[[registry]]\nlocation = \"example.org\"\n";
    assert_eq!(
        places("example.org/a", &[later]).unwrap(),
        ["example.org/a:latest"]
    );
}

#[test]
fn what_makes_no_sense_is_said() {
    let blocked = places("example.org/closed/a", &[]).unwrap_err().to_string();
    assert!(
        blocked.contains("is blocked by `example.org/closed`"),
        "{blocked}"
    );
    let nowhere = "[[registry]]\nprefix = \"example.org\"\nlocation = \"HTTP://x\"\n";
    let error = places("example.org/a", &[nowhere]).unwrap_err().to_string();
    assert!(
        error.contains("has `HTTP://x` for `example.org/a:latest`"),
        "{error}"
    );
    let mut entries = BTreeMap::new();
    let error = add(
        &mut entries,
        Path::new("there.conf"),
        "[[registry]]\nlocation = 5\n",
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("`there.conf` is no configuration"),
        "{error}"
    );
}

#[test]
fn who_names_a_file_means_it() {
    let all = |name: &str| Some(OsString::from(format!("/{name}")));
    assert_eq!(
        files(all).unwrap(),
        [PathBuf::from("/CONTAINERS_REGISTRIES_CONF")]
    );
    let home = tempfile::tempdir().unwrap();
    let own = home.path().join(".config/containers");
    std::fs::create_dir_all(own.join("registries.conf.d")).unwrap();
    for name in [
        "registries.conf",
        "registries.conf.d/20.conf",
        "registries.conf.d/10.conf",
        "registries.conf.d/note",
    ] {
        std::fs::write(own.join(name), "").unwrap();
    }
    let get = |name: &str| (name == "HOME").then(|| home.path().as_os_str().to_owned());
    let found = files(get).unwrap();
    assert_eq!(found[0], own.join("registries.conf"));
    let last = ["registries.conf.d/10.conf", "registries.conf.d/20.conf"].map(|name| own.join(name));
    assert!(found.ends_with(&last), "{found:?}");
}
