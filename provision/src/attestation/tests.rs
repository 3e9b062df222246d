//! Tests with small inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use parbake_artifact::{Artifact, Config, Digest, DocumentKind};
use serde_json::{Value, json};

use super::Attestation;
use crate::inputs::{BinaryMaterial, Download, GoBuild, GoModule, ImageMaterial, Materials};
use crate::provider::Provider;
use crate::provider::lock::{Archive, Package};

fn package(name: &str, version: &str) -> Package {
    Package {
        name: name.into(),
        version: version.into(),
        archive: Archive::Main,
        filename: format!("pool/{name}"),
        size: 1,
        sha256: "ab".repeat(32),
    }
}

fn module(path: &str, version: &str) -> GoModule {
    GoModule {
        path: path.into(),
        version: version.into(),
        sum: "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".into(),
    }
}

fn materials() -> Materials {
    let binary = |modules: Vec<GoModule>| BinaryMaterial {
        version: "v1.34.4".into(),
        sha256: "cd".repeat(32),
        go: Some(GoBuild {
            go: "1.26.8".into(),
            main: module("k8s.io/kubernetes", "v1.34.4"),
            modules,
        }),
    };
    let docker = || module("github.com/Azure/x", "v2.0.0+incompatible");
    Materials {
        source: "modules".into(),
        base: "modules".into(),
        mirrors: BTreeMap::new(),
        downloads: Vec::new(),
        local_files: BTreeMap::new(),
        os: None,
        architecture: "amd64".into(),
        suite: "bookworm".into(),
        files: [("lock.toml".to_owned(), "ef".repeat(32))].into(),
        packages: BTreeMap::from([
            ("os".to_owned(), vec![package("libc6", "2:2.36-9+deb12u1")]),
            (
                "image/proxy".to_owned(),
                vec![package("libc6", "2:2.36-9+deb12u1")],
            ),
        ]),
        binaries: BTreeMap::from([
            ("kubelet".to_owned(), binary(vec![docker()])),
            ("proxy".to_owned(), binary(vec![docker()])),
        ]),
        images: BTreeMap::from([(
            "proxy".to_owned(),
            ImageMaterial {
                reference: "registry.k8s.io/proxy:v1.34.4".into(),
                binaries: vec!["proxy".into()],
            },
        )]),
    }
}

fn documents() -> [(DocumentKind, Value, Vec<u8>); 2] {
    documents_of(materials())
}

fn documents_of(materials: Materials) -> [(DocumentKind, Value, Vec<u8>); 2] {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34");
    let mut provider = Provider::load(&dir).unwrap();
    provider.select_variant("full").unwrap();
    let config = json!({
        "version": 1, "created": "2026-01-31T12:00:00Z", "parbake": "0.1.0", "architecture": "amd64",
        "os": "linux", "provider": "k8s-1.34", "machines": [], "cluster": {},
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    let artifact = Artifact {
        tag: "k8s".parse().unwrap(),
        digest: Digest::of(b"manifest"),
        config: serde_json::from_value::<Config>(config).unwrap(),
        layers: Vec::new(),
        origin: None,
        secrets: None,
    };
    let attestation = Attestation {
        provider: &provider,
        materials: &materials,
        inputs: "00",
    };
    let documents = attestation.documents(&artifact);
    let [sbom, provenance] = documents.try_into().unwrap();
    [sbom, provenance].map(|document| {
        let value = serde_json::from_slice(&document.text).unwrap();
        (document.kind, value, document.text)
    })
}

#[test]
fn documents_are_reproducible() {
    let texts = || documents().map(|(_, _, text)| text);
    assert_eq!(texts(), texts());
}

#[test]
fn sbom_lists_each_component_once_with_its_dependencies() {
    let [(kind, bom, _), _] = documents();
    assert_eq!((kind, &bom["specVersion"]), (DocumentKind::Sbom, &json!("1.6")));
    let components = bom["components"].as_array().unwrap();
    let refs: Vec<_> = components
        .iter()
        .filter_map(|component| component["bom-ref"].as_str())
        .collect();
    let unique: BTreeSet<_> = refs.iter().copied().collect();
    assert_eq!(unique.len(), refs.len());
    let deb = "pkg:deb/debian/libc6@2%3A2.36-9%2Bdeb12u1?arch=amd64&distro=bookworm";
    let azure = "pkg:golang/github.com/Azure/x@v2.0.0%2Bincompatible";
    let kubernetes = "pkg:golang/k8s.io/kubernetes@v1.34.4";
    let expected = [
        "binary/kubelet",
        "binary/proxy",
        "image/proxy",
        "os",
        deb,
        azure,
        kubernetes,
        "pkg:golang/stdlib@1.26.8",
    ];
    assert_eq!(unique, BTreeSet::from(expected));
    let on = |of: &str| {
        let mut all = bom["dependencies"].as_array().unwrap().iter();
        all.find(|dependency| dependency["ref"] == of).unwrap()["dependsOn"].clone()
    };
    assert_eq!(on("image/proxy"), json!(["binary/proxy", deb]));
    assert_eq!(
        on("binary/kubelet"),
        json!([azure, kubernetes, "pkg:golang/stdlib@1.26.8"])
    );
    assert_eq!(on("os"), json!([deb]));
    assert_eq!(on("cluster"), json!(["binary/kubelet", "image/proxy", "os"]));
}

#[test]
fn provenance_names_the_artifact_and_every_input() {
    let [_, (kind, statement, _)] = documents();
    assert_eq!(kind, DocumentKind::Provenance);
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(
        statement["subject"][0]["digest"]["sha256"],
        Digest::of(b"manifest").hex()
    );
    let build = &statement["predicate"]["buildDefinition"];
    assert_eq!(build["externalParameters"]["provider"], "k8s-1.34");
    assert_eq!(build["externalParameters"]["variant"], "full");
    let dependencies = build["resolvedDependencies"].as_array().unwrap();
    assert_eq!(dependencies.len(), 4);
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(dependencies[3]["digest"]["dirHash"], empty);
    assert_eq!(dependencies[0]["name"], "lock.toml");
}

#[test]
fn provenance_names_downloads_and_overrides() {
    let url = "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubeadm";
    let download = |name: &str| Download {
        name: name.into(),
        digest: Digest::of(name.as_bytes()),
    };
    let materials = Materials {
        source: "directory".into(),
        base: "release".into(),
        mirrors: [("binaryMirror", "http://mirror.example/".to_owned())].into(),
        downloads: vec![download(url), download("registry.k8s.io/etcd:3.6.5-0")],
        local_files: [("kubelet".to_owned(), "cd".repeat(32))].into(),
        ..materials()
    };
    let [_, (_, statement, _)] = documents_of(materials);
    let build = &statement["predicate"]["buildDefinition"];
    let expected = json!({
        "provider": "k8s-1.34", "variant": "full", "source": "directory", "base": "release", "nodes": 0,
        "binaryMirror": "http://mirror.example/",
    });
    assert_eq!(build["externalParameters"], expected);
    let inputs = &build["resolvedDependencies"];
    let hex = Digest::of(url.as_bytes());
    assert_eq!(inputs[1], json!({"uri": url, "digest": {"sha256": hex.hex()}}));
    assert_eq!(inputs[2]["uri"], "oci://registry.k8s.io/etcd:3.6.5-0");
    assert_eq!(
        inputs[3],
        json!({"name": "given/kubelet", "digest": {"sha256": "cd".repeat(32)}})
    );
}
