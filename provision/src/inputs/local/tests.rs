//! Tests of local builds of Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{BinaryOverride, Local};
use crate::inputs::Source;
use crate::inputs::cache::Cache;
use crate::inputs::oci_image::{self, Image};
use crate::provider::Provider;

fn provider() -> Provider {
    Provider::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34")).unwrap()
}

/// An executable for a machine, with a program header of the type `kind`.
fn executable(machine: u16, kind: u32) -> Vec<u8> {
    let mut head = vec![0; 64];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    head[18..20].copy_from_slice(&machine.to_le_bytes());
    head[32..40].copy_from_slice(&64_u64.to_le_bytes());
    head[54..56].copy_from_slice(&56_u16.to_le_bytes());
    head[56..58].copy_from_slice(&1_u16.to_le_bytes());
    head.extend_from_slice(&kind.to_le_bytes());
    head
}

/// Writes a file with an age in seconds.
fn put(dir: &Path, name: &str, bytes: &[u8], age: u64) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age))
        .unwrap();
    path
}

fn find(source: &Source, binaries: &[BinaryOverride]) -> Result<Local, String> {
    Local::find(&provider(), source, binaries, "amd64").map_err(|error| error.to_string())
}

#[test]
fn newest_file_of_a_build_output_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let good = executable(62, 1);
    let old = put(dir.path(), "_output/bin/kubelet", &good, 60);
    let new = put(dir.path(), "_output/local/bin/linux/amd64/kubelet", &good, 30);
    put(
        dir.path(),
        "_output/local/bin/linux/arm64/kubelet",
        &executable(183, 1),
        1,
    );
    put(dir.path(), "_output/bin/kube-proxy", &good, 60);
    put(dir.path(), "_output/bin/unknown", &good, 60);
    let fresh = put(dir.path(), "_output/release-images/amd64/kube-proxy.tar", b"", 50);
    put(dir.path(), "_output/bin/kube-apiserver", &good, 10);
    put(
        dir.path(),
        "_output/release-images/amd64/kube-apiserver.tar",
        b"",
        50,
    );
    for given in [dir.path().to_owned(), dir.path().join("_output")] {
        let local = find(&Source::Dir(given), &[]).unwrap();
        let names = ["kube-apiserver", "kube-proxy", "kubelet"].map(str::to_owned);
        assert_eq!(local.names(), BTreeSet::from(names));
        assert_eq!(local.binaries["kubelet"], new);
        assert_eq!(local.images["kube-proxy"], fresh);
        assert_eq!(
            local.images.len(),
            1,
            "an image that is older than its binary is none"
        );
    }
    fs::remove_file(new).unwrap();
    let local = find(&Source::Dir(dir.path().to_owned()), &[]).unwrap();
    assert_eq!(local.binaries["kubelet"], old);
}

#[test]
fn single_binary_overrides_the_build_output() {
    let dir = tempfile::tempdir().unwrap();
    let good = executable(62, 1);
    put(dir.path(), "bin/kube-proxy", &good, 60);
    put(dir.path(), "release-images/amd64/kube-proxy.tar", b"", 50);
    let own = put(dir.path(), "own", &good, 90);
    let given = BinaryOverride {
        name: "kube-proxy".into(),
        path: own.clone(),
    };
    let local = find(&Source::Dir(dir.path().to_owned()), &[given]).unwrap();
    assert_eq!(local.binaries["kube-proxy"], own);
    assert!(local.images.is_empty());
}

#[test]
fn unusable_files_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let empty = Source::Dir(dir.path().to_owned());
    assert!(
        find(&empty, &[])
            .unwrap_err()
            .contains("has no binary or image of Kubernetes for amd64")
    );
    let absent = Source::Dir(dir.path().join("absent"));
    assert!(find(&absent, &[]).unwrap_err().contains("could not read"));
    let given = |name: &str, bytes: &[u8]| BinaryOverride {
        name: name.into(),
        path: put(dir.path(), name, bytes, 0),
    };
    let good = executable(62, 1);
    let refused = |given: &[BinaryOverride]| find(&Source::Modules, given).unwrap_err();
    assert!(refused(&[given("kubelet", b"#!/bin/sh")]).contains("it is not an executable"));
    assert!(refused(&[given("kubelet", &executable(183, 1))]).contains("it is for arm64, not for amd64"));
    assert!(refused(&[given("cube", &good)]).contains("no binary `cube`; it has coredns, crictl, "));
    let kubelet = given("kubelet", &good);
    assert!(refused(&[kubelet.clone(), kubelet]).contains("`kubelet` is given twice"));
    // A kubelet can be dynamically linked, an API server in an image cannot.
    let dynamic = executable(62, 3);
    assert!(find(&Source::Modules, &[given("kubelet", &dynamic)]).is_ok());
    assert!(refused(&[given("kube-apiserver", &dynamic)]).contains("it needs a dynamic loader"));
}

#[test]
fn image_gets_the_name_that_kubeadm_uses() {
    let dir = tempfile::tempdir().unwrap();
    let binary = put(dir.path(), "kube-proxy", b"changed", 0);
    let images = dir.path().join("release-images/amd64");
    fs::create_dir_all(&images).unwrap();
    let image = Image {
        reference: "registry.k8s.io/kube-proxy-amd64:v1.34.5-dirty",
        architecture: "amd64",
        tree: &images,
        files: &[("/kube-proxy".to_owned(), binary)].into(),
        setuid: &[],
        links: &BTreeMap::new(),
        directories: &[],
        entrypoint: &[],
        arguments: &[],
        user: "",
    };
    oci_image::write(&image, &images.join("kube-proxy.tar")).unwrap();
    fs::remove_file(dir.path().join("kube-proxy")).unwrap();
    let local = find(&Source::Dir(dir.path().to_owned()), &[]).unwrap();
    let cache = Cache::new(dir.path().join("cache")).lock().unwrap();
    let wanted = "registry.k8s.io/kube-proxy:v1.34.4";
    let taken = local.image("kube-proxy", wanted, &cache).unwrap().unwrap();
    assert_eq!(
        (taken.short_name.as_str(), taken.reference.as_str()),
        ("kube-proxy", wanted)
    );
    assert_eq!(taken.names, [wanted]);
    assert!(
        local
            .image("etcd", "registry.k8s.io/etcd:1", &cache)
            .unwrap()
            .is_none()
    );
}
