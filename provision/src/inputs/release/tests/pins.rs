//! Tests of pins: what is written down, and what a plan makes of it.

use std::collections::BTreeSet;
use std::path::Path;

use parbake_artifact::Digest;

use super::server::Registry;
use super::{Place, archive, options};
use crate::inputs::addon_images;
use crate::inputs::cache::Cache;
use crate::inputs::release::pin::first_digest;
use crate::inputs::release::{Plan, kept, pin};
use crate::inputs::update::{LockPart, LockUpdate};
use crate::provider::Provider;
use crate::provider::lock::Lock;

/// What kubeadm 1.34.4 asks for.
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

/// Puts everything on the mirror that the provider takes; `kubeadm` is a script that says what the real one says.
fn fill(place: &Place, registry: &Registry) {
    let kubeadm = format!("#!/bin/sh\ncat <<END\n{}\nEND\n", IMAGES.join("\n"));
    let bin = "/k8s/release/v1.34.4/bin/linux/amd64";
    let put = |path: String, bytes: &[u8], rest: &str| {
        place.server.put(&path, bytes);
        let beside = format!("{}{rest}", Digest::of(bytes).hex());
        place.server.put(&format!("{path}.sha256"), beside.as_bytes());
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
    // Some projects call it otherwise.
    let registry_binary =
        "distribution/distribution/releases/download/v3.1.2/registry_3.1.2_linux_amd64.tar.gz";
    let bytes = archive("registry", b"registry");
    place.server.put(&format!("/k8s/{registry_binary}"), &bytes);
    let beside = format!("{}  ./registry.tar.gz\n", Digest::of(&bytes).hex());
    place
        .server
        .put(&format!("/k8s/{registry_binary}.sha256sum"), beside.as_bytes());
    for reference in IMAGES {
        registry.put(reference, "/usr/local/bin/etcdctl", reference.as_bytes());
    }
}

#[test]
fn everything_is_pinned_and_planned() {
    let (place, registry, provider) = (Place::new(), Registry::start(), provider());
    fill(&place, &registry);
    let mirrors = place.mirrors(Some(&registry));
    let cache = Cache::new(place.dir.path()).lock().unwrap();
    let pinned = pin(&provider, "amd64", &mirrors, &options(), &cache).unwrap();
    assert_eq!(pinned.files["kubelet"].digest, Digest::of(b"kubelet"));
    let url = "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet";
    assert_eq!(pinned.files["kubelet"].url, url, "not where the mirror has it");
    assert_eq!(pinned.images.len(), IMAGES.len());
    let mut lock = lock(&provider);
    lock.release = Some(pinned.clone());
    let text = lock.to_text("k8s-1.34").unwrap();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    let plan =
        |binaries: &[&str], images: &[&str]| Plan::new(&provider, &lock, &names(binaries), &names(images));
    let all = plan(&[], &[]).unwrap();
    assert_eq!((all.files.len(), all.inside.len(), all.images.len()), (5, 2, 7));
    // What is given is not fetched, nor the image that it is in.
    let less = plan(&["kubelet", "kube-proxy"], &["pause"]).unwrap();
    assert_eq!((less.files.len(), less.images.len()), (4, 5));
    let etcd = plan(&["etcd"], &[]).unwrap();
    assert!(etcd.images.contains_key("etcd"), "there is etcdctl in it");

    // Pins of another version are none.
    assert_eq!(
        kept(Some(pinned.clone()), &provider, "amd64"),
        Some(pinned.clone())
    );
    assert_eq!(kept(Some(pinned), &provider, "arm64"), None);
    place
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
fn what_is_not_pinned_says_what_to_do() {
    let mut provider = provider();
    let lock = lock(&provider);
    let none = names(&[]);
    let error = Plan::new(&provider, &lock, &none, &none).unwrap_err().to_string();
    assert_eq!(
        error,
        "the lock of `k8s-1.34` does not pin anything for source `release`; `parbake provider update k8s-1.34 --only \
         release` pins all that is published, through `--binary-mirror` and `--image-mirror` where only mirrors can be \
         reached"
    );
    provider.recipe.release.remove("kubelet");
    let error = Plan::new(&provider, &lock, &none, &none).unwrap_err().to_string();
    assert!(
        error.contains("does not say where `kubelet` is published"),
        "{error}"
    );
}

#[test]
fn published_images_of_addons_are_pinned_and_taken() {
    let (place, registry, mut provider) = (Place::new(), Registry::start(), provider());
    let reference = "docker.io/grafana/grafana:11.6.0";
    let digest = registry.put(reference, "/run.sh", b"grafana");
    let (mirrors, options) = (place.mirrors(Some(&registry)), options());
    let pinned = |provider: &Provider, part, old: Option<&Lock>| {
        let mut lock = lock(provider);
        let update = LockUpdate {
            part,
            mirrors: &mirrors,
            registry: &options,
            cache: place.dir.path(),
        };
        addon_images::pin(provider, old, &mut lock, &update);
        lock
    };
    let new = pinned(&provider, LockPart::Release, None);
    assert_eq!(new.addons["grafana"].images[reference], digest);
    // What is not there is not pinned, and is no reason to have nothing.
    assert!(new.addons["csi-nfs"].images.is_empty());
    let kept = pinned(&provider, LockPart::Packages, Some(&new));
    assert_eq!(kept, new);
    let none = pinned(&provider, LockPart::Packages, None);
    assert!(none.addons["grafana"].images.is_empty());

    provider.choose("grafana").unwrap();
    assert!(addon_images::plan(&provider, &none).is_err());
    let plan = addon_images::plan(&provider, &new).unwrap();
    let obtained = place.download(&plan, Some(&registry)).unwrap();
    let image = &obtained.images["grafana"];
    assert_eq!(image.reference, reference);
    assert!(image.path.is_file());
    assert_eq!(
        (obtained.downloads.len(), &obtained.downloads[0].digest),
        (1, &digest)
    );
}

#[test]
fn digests_are_found_in_their_files() {
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
