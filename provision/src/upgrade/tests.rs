//! Tests of creating and upgrading providers. Modules come from a proxy in a folder (`go help goproxy`).

mod proxy;

use std::fs;
use std::path::{Path, PathBuf};

use parbake_artifact::registry::Options;
use parbake_machine::executable::ARCHITECTURE;

use super::constants::Constants;
use super::go::Go;
use super::newest::newest_of;
use super::{UpgradeError, component, create, modules, recipe};
use crate::inputs::{LockPart, LockUpdate, ReleaseMirrors};
use crate::provider::{Provider, Recipe};
use proxy::Proxy;

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
        "# kubeadm 1.35.2 expects images of these versions.",
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
fn component_versions_get_three_numbers() {
    for (text, version) in [("3.6.5-0", "3.6.5"), ("v1.12.1", "1.12.1"), ("3.1", "3.1.0")] {
        assert_eq!(component(text).unwrap().to_string(), version);
    }
    assert_eq!(component("newest"), None);
}

/// A folder with one provider.
fn providers() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(repository().join("manifests"), dir.path().join("manifests")).unwrap();
    let providers = dir.path().join("providers");
    super::copy(&repository().join("providers/k8s-1.34"), &providers.join("old")).unwrap();
    (dir, providers)
}

#[test]
fn failure_leaves_no_files() {
    let (dir, providers) = providers();
    let from = Provider::load(&providers.join("old")).unwrap();
    let update = LockUpdate {
        part: LockPart::Release,
        architecture: ARCHITECTURE,
        // Nothing listens on this port.
        mirrors: &ReleaseMirrors {
            binaries: Some("http://127.0.0.1:1".parse().unwrap()),
            ..ReleaseMirrors::default()
        },
        registry: &Options::default(),
        cache: &dir.path().join("cache"),
    };
    let create = |name: &str| create(&name.parse().unwrap(), &from, &providers, None, &update);
    assert!(matches!(create("old"), Err(UpgradeError::Exists(name)) if name.as_str() == "old"));
    assert!(matches!(create("new"), Err(UpgradeError::Inputs(_))));
    let left: Vec<_> = fs::read_dir(&providers)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["old"]);
}

/// Minimal modules of two releases of Kubernetes and their dependencies.
fn proxy_with_releases() -> Proxy {
    let proxy = Proxy::new();
    for (patch, dep, etcd) in [(4, "v1.0.0", "3.6.5"), (6, "v1.1.0", "3.6.7")] {
        let main =
            "package main\n\nimport (\n\t_ \"example.org/dep\"\n\t_ \"k8s.io/api\"\n)\n\nfunc main() {}\n";
        let constants = format!(
            "package constants\n\nconst (\n\tDefaultEtcdVersion = \"{etcd}-0\"\n\
             \tCoreDNSVersion = \"v1.12.1\"\n\tPauseVersion = \"3.10.1\"\n)\n"
        );
        let go_mod = format!(
            "module k8s.io/kubernetes\n\ngo 1.21\n\n\
             require (\n\texample.org/dep v1.0.0\n\tk8s.io/api v0.0.0\n)\n\n\
             replace (\n\texample.org/dep => example.org/dep {dep}\n\
             \tk8s.io/api => ./staging/src/k8s.io/api\n)\n"
        );
        let files = [
            ("cmd/kubelet/main.go", main),
            ("cmd/kubeadm/app/constants/constants.go", constants.as_str()),
        ];
        proxy.add("k8s.io/kubernetes", &format!("v1.34.{patch}"), &go_mod, &files);
        let library = |name: &str| format!("module {name}\n\ngo 1.21\n");
        let text = [("x.go", "package x\n")];
        proxy.add(
            "k8s.io/api",
            &format!("v0.34.{patch}"),
            &library("k8s.io/api"),
            &text,
        );
        proxy.add("example.org/dep", dep, &library("example.org/dep"), &text);
        let (name, main) = ("go.etcd.io/etcd/server/v3", "package main\n\nfunc main() {}\n");
        proxy.add(name, &format!("v{etcd}"), &library(name), &[("main.go", main)]);
    }
    // Lists of module mirrors are incomplete, and some of their versions cannot be downloaded.
    proxy.list("k8s.io/kubernetes", &["v1.34.4"]);
    proxy.add("k8s.io/kubernetes", "v1.34.8", "module k8s.io/kubernetes\n", &[]);
    proxy
}

/// A recipe that builds a kubelet and etcd from these modules.
fn recipe_of(kubernetes: &str, etcd: &str) -> Recipe {
    let mut recipe = Recipe::parse(&text()).unwrap();
    recipe.kubernetes = kubernetes.parse().unwrap();
    recipe.components.insert("etcd".to_owned(), etcd.parse().unwrap());
    recipe
        .modules
        .retain(|name, _| ["kubernetes", "etcd"].contains(&name.as_str()));
    for (folder, command, package) in [
        ("kubernetes", "kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    ] {
        let modules = recipe.modules.get_mut(folder).unwrap();
        modules.commands = [(command.to_owned(), package.to_owned())].into();
    }
    recipe
}

#[test]
fn modules_are_upgraded_to_the_newest_release() {
    let proxy = proxy_with_releases();
    let go = Go::new(&proxy.environment());
    let old = recipe_of("1.34.4", "3.6.5");
    let newest = newest_of(&go, &old.kubernetes).unwrap();
    assert_eq!(newest.to_string(), "v1.34.6");
    let constants = Constants::of(&go, &newest).unwrap();
    assert!(
        constants
            .by_name()
            .iter()
            .any(|(name, version)| *name == "etcd" && version.to_string() == "3.6.7")
    );
    let new = recipe_of("1.34.6", "3.6.7");
    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str| dir.path().join("modules").join(name);
    let write = |name: &str, text: &str| {
        fs::create_dir_all(folder(name)).unwrap();
        fs::write(folder(name).join("go.mod"), text).unwrap();
        fs::write(folder(name).join("go.sum"), "").unwrap();
    };
    write(
        "kubernetes",
        "module parbake.example/kubernetes\n\ngo 1.21\n\nrequire k8s.io/kubernetes v1.34.4\n\n\
         replace (\n\texample.org/dep => example.org/dep v1.0.0\n\
         \tk8s.io/api => k8s.io/api v0.34.4\n)\n",
    );
    let etcd = "module parbake.example/etcd\n\ngo 1.21\n\nrequire go.etcd.io/etcd/server/v3 v3.6.5\n";
    write("etcd", etcd);
    modules::upgrade(&go, dir.path(), &old, &new).unwrap();
    let text = |name: &str, file: &str| fs::read_to_string(folder(name).join(file)).unwrap();
    let go_mod = text("kubernetes", "go.mod");
    for line in [
        "k8s.io/kubernetes v1.34.6",
        "k8s.io/api => k8s.io/api v0.34.6",
        "example.org/dep => example.org/dep v1.1.0",
    ] {
        assert!(go_mod.contains(line), "{go_mod}");
    }
    let sums = text("kubernetes", "go.sum");
    assert!(
        sums.contains("k8s.io/api v0.34.6 h1:") && !sums.contains(".34.4"),
        "{sums}"
    );
    assert!(text("etcd", "go.mod").contains("go.etcd.io/etcd/server/v3 v3.6.7"));
    // An unavailable version is named.
    let gone = recipe_of("1.34.7", "3.6.7");
    let error = modules::upgrade(&go, dir.path(), &new, &gone).unwrap_err();
    let expected = "could not download the Go module `k8s.io/kubernetes` v1.34.7";
    assert!(error.to_string().starts_with(expected), "{error}");
}
