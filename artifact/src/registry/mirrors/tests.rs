//! Tests of the configuration of mirrors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Location, add, choose, files};
use crate::digest::Digest;
use crate::http::one_line;
use crate::registry::RegistryError;

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
location = "limited.org:5000"
[[registry.mirror]]
location = "tags.example.net"
pull-from-mirror = "tag-only"
[[registry.mirror]]
location = "digests.example.net"
pull-from-mirror = "digest-only"
"#;

/// The locations, with `!` after insecure ones.
fn locations(text: &str, more: &[&str]) -> Result<Vec<String>, RegistryError> {
    let mut entries = BTreeMap::new();
    for conf in [CONF].iter().chain(more) {
        add(&mut entries, Path::new("registries.conf"), conf).unwrap();
    }
    let locations = choose(&entries, &text.parse().unwrap())?;
    let spelled = |location: Location| {
        let mark = if location.is_insecure { "!" } else { "" };
        format!("{}{mark}", location.reference)
    };
    let all = locations.mirrors.into_iter().chain([locations.primary]);
    Ok(all.map(spelled).collect())
}

#[test]
fn mirrors_precede_the_registry() {
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
        assert_eq!(locations(text, &[]).unwrap(), expected, "{text}");
    }
}

#[test]
fn mirrors_can_be_limited_to_tags_or_digests() {
    let digest = Digest::of(b"manifest");
    let pinned = format!("limited.org:5000/a@{digest}");
    let expected = [format!("digests.example.net/a@{digest}"), pinned.clone()];
    assert_eq!(locations(&pinned, &[]).unwrap(), expected);
    let expected = ["tags.example.net/a:v5", "limited.org:5000/a:v5"];
    assert_eq!(locations("limited.org:5000/a:v5", &[]).unwrap(), expected);
}

#[test]
fn later_files_override_earlier_ones() {
    let later = "[[registry]]\nlocation = \"example.org\"\n";
    assert_eq!(
        locations("example.org/a", &[later]).unwrap(),
        ["example.org/a:latest"]
    );
}

#[test]
fn unusable_configuration_is_an_error() {
    let blocked = locations("example.org/closed/a", &[]).unwrap_err().to_string();
    assert!(
        blocked.contains("is blocked by `example.org/closed`"),
        "{blocked}"
    );
    let unusable = "[[registry]]\nprefix = \"example.org\"\nlocation = \"HTTP://x\"\n";
    let error = locations("example.org/a", &[unusable]).unwrap_err().to_string();
    assert!(
        error.contains("location `HTTP://x` for `example.org/a:latest`"),
        "{error}"
    );
    let mut entries = BTreeMap::new();
    let wrong_type = "[[registry]]\nlocation = 5\n";
    let error = add(&mut entries, Path::new("there.conf"), wrong_type).unwrap_err();
    let error = one_line(&error);
    assert!(error.contains("configuration `there.conf`"), "{error}");
    assert!(error.contains("expected a string"), "{error}");
}

#[test]
fn explicit_file_replaces_the_others() {
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
        "registries.conf.d/readme",
    ] {
        std::fs::write(own.join(name), "").unwrap();
    }
    let variable = |name: &str| (name == "HOME").then(|| home.path().as_os_str().to_owned());
    let found = files(variable).unwrap();
    assert_eq!(found[0], own.join("registries.conf"));
    let last = ["registries.conf.d/10.conf", "registries.conf.d/20.conf"].map(|name| own.join(name));
    assert!(found.ends_with(&last), "{found:?}");
}
