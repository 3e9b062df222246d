//! Tests of pins and plans.

use std::collections::BTreeSet;
use std::path::Path;

use parbake_artifact::Digest;

use super::server::Registry;
use super::{Fixture, archive, options};
use crate::inputs::addon_images;
use crate::inputs::cache::Cache;
use crate::inputs::release::pin::first_digest;
use crate::inputs::release::{Plan, is_complete, kept, pin};
use crate::inputs::update::{LockPart, LockUpdate};
use crate::provider::Provider;
use crate::provider::lock::Lock;

/// The images of kubeadm 1.34.4.
const IMAGES: [&str; 7] = [
    "registry.k8s.io/kube-apiserver:v1.34.4",
    "registry.k8s.io/kube-controller-manager:v1.34.4",
    "registry.k8s.io/kube-scheduler:v1.34.4",
    "registry.k8s.io/kube-proxy:v1.34.4",
    "registry.k8s.io/coredns/coredns:v1.12.1",
    "registry.k8s.io/pause:3.10.1",
    "registry.k8s.io/etcd:3.6.5-0",
];

fn provider() -> Provider {
    Provider::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34")).unwrap()
}

fn lock(provider: &Provider) -> Lock {
    let mut lock = Lock::load(provider).unwrap();
    lock.release = None;
    lock
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Fills the mirror with everything that the provider takes; `kubeadm` is a script that lists the images.
fn fill(fixture: &Fixture, registry: &Registry) {
    let kubeadm = format!("#!/bin/sh\ncat <<END\n{}\nEND\n", IMAGES.join("\n"));
    let bin = "/k8s/release/v1.34.4/bin/linux/amd64";
    let put = |path: String, bytes: &[u8], rest: &str| {
        fixture.server.put(&path, bytes);
        let digest_file = format!("{}{rest}", Digest::of(bytes).hex());
        fixture
            .server
            .put(&format!("{path}.sha256"), digest_file.as_bytes());
    };
    put(format!("{bin}/kubeadm"), kubeadm.as_bytes(), "");
    put(format!("{bin}/kubelet"), b"kubelet", "\n");
    put(format!("{bin}/kubectl"), b"kubectl", "  kubectl\n");
    put(
        "/k8s/kubernetes-sigs/cri-tools/releases/download/v1.30.0/crictl-v1.30.0-linux-amd64.tar.gz"
            .to_owned(),
        &archive("crictl", b"crictl"),
        "",
    );
    // Some projects use another suffix.
    let registry_binary =
        "distribution/distribution/releases/download/v3.1.2/registry_3.1.2_linux_amd64.tar.gz";
    let bytes = archive("registry", b"registry");
    fixture.server.put(&format!("/k8s/{registry_binary}"), &bytes);
    let digest_file = format!("{}  ./registry.tar.gz\n", Digest::of(&bytes).hex());
    fixture.server.put(
        &format!("/k8s/{registry_binary}.sha256sum"),
        digest_file.as_bytes(),
    );
    for reference in IMAGES {
        registry.put(reference, "/usr/local/bin/etcdctl", reference.as_bytes());
    }
}

#[test]
fn files_and_images_are_pinned_and_planned() {
    let (fixture, registry, provider) = (Fixture::new(), Registry::start(), provider());
    fill(&fixture, &registry);
    let mirrors = fixture.mirrors(Some(&registry));
    let cache = Cache::new(fixture.dir.path()).lock().unwrap();
    let pinned = pin(&provider, "amd64", &mirrors, &options(), &cache).unwrap();
    assert_eq!(pinned.files["kubelet"].digest, Digest::of(b"kubelet"));
    let url = "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet";
    assert_eq!(pinned.files["kubelet"].url, url, "not the URL of the mirror");
    assert_eq!(pinned.images.len(), IMAGES.len());
    let mut lock = lock(&provider);
    lock.release = Some(pinned.clone());
    let text = lock.to_text("k8s-1.34").unwrap();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    let plan =
        |binaries: &[&str], images: &[&str]| Plan::new(&provider, &lock, &names(binaries), &names(images));
    let all = plan(&[], &[]).unwrap();
    assert_eq!((all.files.len(), all.inside.len(), all.images.len()), (5, 2, 7));
    // Given binaries are not downloaded, nor images that contain them.
    let less = plan(&["kubelet", "kube-proxy"], &["pause"]).unwrap();
    assert_eq!((less.files.len(), less.images.len()), (4, 5));
    let etcd = plan(&["etcd"], &[]).unwrap();
    assert!(etcd.images.contains_key("etcd"), "it contains etcdctl");

    // Only pins of other files are dropped.
    assert!(is_complete(&pinned, &provider, "amd64"));
    assert_eq!(
        kept(Some(pinned.clone()), &provider, "amd64"),
        Some(pinned.clone())
    );
    let mut outdated = pinned.clone();
    outdated.files.get_mut("kubelet").unwrap().url.push_str(".old");
    let partial = kept(Some(outdated), &provider, "amd64").unwrap();
    assert!(!partial.files.contains_key("kubelet") && partial.files.contains_key("kubeadm"));
    assert_eq!(partial.images, pinned.images);
    assert!(!is_complete(&partial, &provider, "amd64"));
    assert_eq!(kept(Some(pinned), &provider, "arm64"), None);
    fixture
        .server
        .put("/k8s/release/v1.34.4/bin/linux/amd64/kubectl.sha256", b"<html>");
    let error = pin(&provider, "amd64", &mirrors, &options(), &cache).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("kubectl.sha256` has no SHA-256 digest"),
        "{error}"
    );
}

#[test]
fn missing_pins_name_the_command() {
    let mut provider = provider();
    let lock = lock(&provider);
    let none = names(&[]);
    let error = Plan::new(&provider, &lock, &none, &none).unwrap_err().to_string();
    assert_eq!(
        error,
        "the lock of `k8s-1.34` does not pin anything for source `release`; run `parbake provider update k8s-1.34 \
         --only release`, with `--binary-mirror` and `--image-mirror` where only mirrors can be reached"
    );
    provider.recipe.release.remove("kubelet");
    let error = Plan::new(&provider, &lock, &none, &none).unwrap_err().to_string();
    assert!(
        error.contains("does not say where `kubelet` is published"),
        "{error}"
    );
}

#[test]
fn published_addon_images_are_pinned_and_downloaded() {
    let (fixture, registry, mut provider) = (Fixture::new(), Registry::start(), provider());
    let reference = "docker.io/grafana/grafana:11.6.0";
    let digest = registry.put(reference, "/run.sh", b"grafana");
    let (mirrors, options) = (fixture.mirrors(Some(&registry)), options());
    let pinned = |provider: &Provider, part, old: Option<&Lock>| {
        let mut lock = lock(provider);
        let update = LockUpdate {
            part,
            mirrors: &mirrors,
            registry: &options,
            cache: fixture.dir.path(),
        };
        addon_images::pin(provider, old, &mut lock, &update);
        lock
    };
    let new = pinned(&provider, LockPart::Release, None);
    assert_eq!(new.addons["grafana"].images[reference], digest);
    // A missing image is not pinned, and does not prevent the others.
    assert!(new.addons["csi-nfs"].images.is_empty());
    let kept = pinned(&provider, LockPart::Packages, Some(&new));
    assert_eq!(kept, new);
    let none = pinned(&provider, LockPart::Packages, None);
    assert!(none.addons["grafana"].images.is_empty());

    provider.select_addon("grafana").unwrap();
    assert!(addon_images::plan(&provider, &none).is_err());
    let plan = addon_images::plan(&provider, &new).unwrap();
    let downloads = fixture.download(&plan, Some(&registry)).unwrap();
    let image = &downloads.images["grafana"];
    assert_eq!(image.reference, reference);
    assert!(image.path.is_file());
    assert_eq!(
        (downloads.downloads.len(), &downloads.downloads[0].digest),
        (1, &digest)
    );
}

#[test]
fn first_digest_of_a_digest_file_is_found() {
    let hex = "a".repeat(64);
    for text in [
        hex.clone(),
        format!("{hex}\n"),
        format!("{hex}  kubelet\n"),
        hex.to_uppercase(),
    ] {
        assert_eq!(first_digest(&text).unwrap().hex(), hex);
    }
    for text in ["", "<html>", &hex[1..]] {
        assert!(first_digest(text).is_none(), "{text}");
    }
}
