//! Tests of pins and plans.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use parbake_artifact::Digest;
use parbake_machine::executable::ARCHITECTURE;

use super::server::Registry;
use super::{Fixture, archive, options};
use crate::inputs::addon_images;
use crate::inputs::cache::Cache;
use crate::inputs::release::pin::first_digest;
use crate::inputs::release::{Plan, kept, pin};
use crate::inputs::update::{LockPart, LockUpdate};
use crate::provider::lock::{ARCHITECTURES, Lock};
use crate::provider::{ContainerRuntime, Provider};

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
    shipped("k8s-1.34")
}

fn shipped(name: &str) -> Provider {
    let providers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers");
    Provider::load(&providers.join(name)).unwrap()
}

fn lock(provider: &Provider) -> Lock {
    let mut lock = Lock::load_for(provider, "amd64").unwrap();
    lock.release = None;
    for addon in lock.addons.values_mut() {
        addon.images.clear();
    }
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
    // A file without a digest beside it keeps its pin.
    let old = Lock::load_for(&provider, "amd64").unwrap().release;
    let pinned = pin(&provider, "amd64", old.as_ref(), &mirrors, &options(), &cache).unwrap();
    assert!(pinned.tried.is_empty(), "mirrors confirm nothing");
    let pinned = pinned.release;
    let [before, after] = [&old.unwrap(), &pinned].map(|release| release.files["cri-dockerd"].clone());
    assert_eq!(before, after);
    assert_eq!(pinned.files["kubelet"].digest, Digest::of(b"kubelet"));
    let url = "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet";
    assert_eq!(pinned.files["kubelet"].url, url, "not the URL of the mirror");
    assert_eq!(pinned.images.len(), IMAGES.len());
    let mut lock = lock(&provider);
    lock.release = Some(pinned.clone());
    let text = lock.to_text("k8s-1.34").unwrap();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    let plan =
        |binaries: &[&str], images: &[&str]| planned(&provider, &lock, &names(binaries), &names(images));
    let all = plan(&[], &[]);
    assert_eq!((all.files.len(), all.inside.len(), all.images.len()), (5, 2, 7));
    // Given binaries are not downloaded, nor images that contain them.
    let less = plan(&["kubelet", "kube-proxy"], &["pause"]);
    assert_eq!((less.files.len(), less.images.len()), (4, 5));
    let etcd = plan(&["etcd"], &[]);
    assert!(etcd.images.contains_key("etcd"), "it contains etcdctl");

    fixture
        .server
        .put("/k8s/release/v1.34.4/bin/linux/amd64/kubectl.sha256", b"<html>");
    let error = pin(&provider, "amd64", Some(&pinned), &mirrors, &options(), &cache).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("kubectl.sha256` has no SHA-256 digest"),
        "{error}"
    );
}

fn planned(
    provider: &Provider,
    lock: &Lock,
    given: &BTreeSet<String>,
    given_images: &BTreeSet<String>,
) -> Plan {
    let (plan, missing) = Plan::new(provider, lock, given, given_images).unwrap();
    assert!(missing.is_empty(), "{missing:?}");
    plan
}

#[test]
fn only_pins_that_changed_are_dropped() {
    let mut provider = provider();
    let all = Lock::load_for(&provider, "amd64").unwrap().release.unwrap();
    assert_eq!(kept(Some(all.clone()), &provider, "amd64"), Some(all.clone()));
    let mut outdated = all.clone();
    outdated.files.get_mut("kubelet").unwrap().url.push_str(".old");
    let partial = kept(Some(outdated), &provider, "amd64").unwrap();
    assert!(!partial.files.contains_key("kubelet") && partial.files.contains_key("kubeadm"));
    assert_eq!(partial.images, all.images);
    // A binary whose location is not in the provider file any more does not matter for the others.
    provider.recipe.release.remove("registry");
    let fewer = kept(Some(all.clone()), &provider, "amd64").unwrap();
    assert_eq!(fewer.files.len(), all.files.len() - 1);
    // Another version of Kubernetes, with the same etcd, CoreDNS and pause.
    provider.recipe.kubernetes = "1.34.5".parse().unwrap();
    let newer = kept(Some(all.clone()), &provider, "amd64").unwrap();
    let files: Vec<&str> = newer.files.keys().map(String::as_str).collect();
    assert_eq!(files, ["cri-dockerd", "crictl"]);
    let images: Vec<&str> = newer.images.keys().map(String::as_str).collect();
    assert_eq!(
        images,
        [
            "registry.k8s.io/coredns/coredns:v1.12.1",
            "registry.k8s.io/etcd:3.6.5-0",
            "registry.k8s.io/pause:3.10.1"
        ]
    );
    let other = kept(Some(all.clone()), &self::provider(), "arm64").unwrap();
    assert!(other.files.is_empty());
}

#[test]
fn shipped_locks_pin_everything_published() {
    let none = names(&[]);
    for name in ["k8s-1.17", "k8s-1.34", "k8s-1.36"] {
        let provider = shipped(name);
        for architecture in ARCHITECTURES {
            let lock = Lock::load_for(&provider, architecture).unwrap();
            let plan = planned(&provider, &lock, &none, &none);
            assert!(plan.has_binary("kubelet") && plan.has_image("etcd"), "{name}");
            assert_eq!(plan.has_image("local-path-provisioner"), name != "k8s-1.17");
            let text = Lock::path(&provider, architecture);
            assert_eq!(lock.to_text(name).unwrap(), fs::read_to_string(text).unwrap());
        }
    }
    let mut provider = shipped("k8s-1.34");
    provider.select_runtime(ContainerRuntime::Docker).unwrap();
    let lock = Lock::load_for(&provider, "amd64").unwrap();
    assert!(planned(&provider, &lock, &none, &none).has_binary("cri-dockerd"));
    let mut provider = shipped("k8s-1.34");
    provider.select_runtime(ContainerRuntime::CriO).unwrap();
    let (plan, missing) = Plan::new(&provider, &lock, &none, &none).unwrap();
    assert!(plan.has_binary("kubelet") && !plan.has_binary("crio"));
    assert!(
        missing[0]
            .to_string()
            .contains("does not say where `copyimg` is published")
    );
}

#[test]
fn pins_are_untried_until_the_site_confirms_them() {
    let provider = provider();
    let mut lock = Lock::load_for(&provider, "amd64").unwrap();
    let untried = lock.untried();
    assert_eq!(
        (untried["dl.k8s.io"], untried["github.com"], untried["docker.io"]),
        (3, 3, 3)
    );
    let release = lock.release.clone().unwrap();
    let kubelet = release.files["kubelet"].digest.clone();
    lock.tried = [kubelet, Digest::of(b"not pinned")].into();
    lock.forget_unpinned();
    assert_eq!(lock.tried.len(), 1);
    assert_eq!(lock.untried()["dl.k8s.io"], 2);
    assert_eq!(Lock::parse(&lock.to_text("k8s-1.34").unwrap()).unwrap(), lock);
}

#[test]
fn missing_pins_name_the_command() {
    let mut provider = provider();
    let lock = lock(&provider);
    let none = names(&[]);
    let first = |provider: &Provider, lock: &Lock| {
        let (plan, missing) = Plan::new(provider, lock, &none, &none).unwrap();
        assert!(!plan.has_binary("kubelet"));
        missing[0].to_string()
    };
    assert_eq!(
        first(&provider, &lock),
        "the lock of `k8s-1.34` does not pin anything for source `release`; run `parbake provider update k8s-1.34 \
         --only release`, with `--binary-mirror` and `--image-mirror` where only mirrors can be reached"
    );
    provider.recipe.release.remove("kubelet");
    let error = first(&provider, &Lock::load_for(&provider, "amd64").unwrap());
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
            architecture: ARCHITECTURE,
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
