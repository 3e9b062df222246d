//! Tests of new providers; those that need modules get them as builds do.

use std::fs;
use std::path::{Path, PathBuf};

use parbake_artifact::registry::Options;

use super::constants::Constants;
use super::{RenewError, component, create, recipe};
use crate::inputs::{Part, Sites, Update};
use crate::provider::{Provider, Recipe};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text() -> String {
    fs::read_to_string(repository().join("providers/k8s-1.34/provider.toml")).unwrap()
}

fn constants() -> Constants {
    Constants {
        etcd: "3.6.6".parse().unwrap(),
        coredns: "1.13.0".parse().unwrap(),
        pause: "3.10.1".parse().unwrap(),
    }
}

#[test]
fn only_versions_change() {
    let (old, text) = (Recipe::parse(&text()).unwrap(), text());
    let changed = recipe::change(&text, &old, &"1.35.2".parse().unwrap(), &constants()).unwrap();
    let now = Recipe::parse(&changed).unwrap();
    assert_eq!(now.kubernetes.to_string(), "v1.35.2");
    let different: Vec<&str> = changed
        .lines()
        .zip(text.lines())
        .filter(|(now, before)| now != before)
        .map(|(now, _)| now)
        .collect();
    assert_eq!(changed.lines().count(), text.lines().count());
    let expected = [
        "# Kubernetes 1.35 on Debian bookworm: one control plane, two workers.",
        "kubernetes = \"1.35.2\"",
        "# kubeadm 1.35.2 asks for images of these versions.",
        "etcd = \"3.6.6\"",
        "coredns = \"1.13.0\"",
        "\"k8s.io/component-base/version.gitVersion\" = \"v1.35.2\"",
        "\"k8s.io/component-base/version.gitMinor\" = \"35\"",
    ];
    assert_eq!(different.len(), expected.len(), "{different:?}");
    for (line, begins) in different.iter().zip(expected) {
        assert!(line.starts_with(begins), "{line}");
    }
}

#[test]
fn components_have_three_numbers() {
    for (text, version) in [("3.6.5-0", "3.6.5"), ("v1.12.1", "1.12.1"), ("3.1", "3.1.0")] {
        assert_eq!(component(text).unwrap().to_string(), version);
    }
    assert_eq!(component("newest"), None);
}

/// A folder of providers with one in it, and what makes no lock: nobody's mirror is asked.
fn providers() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(repository().join("manifests"), dir.path().join("manifests")).unwrap();
    let providers = dir.path().join("providers");
    super::copy(&repository().join("providers/k8s-1.34"), &providers.join("old")).unwrap();
    (dir, providers)
}

#[test]
fn what_fails_leaves_nothing() {
    let (dir, providers) = providers();
    let from = Provider::load(&providers.join("old")).unwrap();
    let update = Update {
        part: Part::Release,
        // Nobody is there.
        sites: &Sites {
            binaries: Some("http://127.0.0.1:1".parse().unwrap()),
            ..Sites::default()
        },
        registry: &Options::default(),
        cache: &dir.path().join("cache"),
    };
    let create = |name: &str| create(&name.parse().unwrap(), &from, &providers, None, &update);
    assert!(matches!(create("old"), Err(RenewError::Exists(name)) if name.as_str() == "old"));
    assert!(matches!(create("new"), Err(RenewError::Inputs(_))));
    let left: Vec<_> = fs::read_dir(&providers)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["old"]);
}
