//! The software bill of materials: CycloneDX 1.6 as JSON (ECMA-424).
//!
//! ```text
//! cluster
//! ├── os              Debian packages; of a user's own node OS only the digest
//! ├── binary/kubelet  the Go modules that are linked into it, and Go's standard library
//! └── image/etcd      binaries, Debian packages
//! ```
//!
//! It has no serial number and no time, so that equal inputs give equal bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;

use super::purl;
use crate::inputs::{BinaryMaterial, GoModule, Materials};
use crate::provider::Provider;
use crate::provider::lock::Package;

/// The reference of the whole cluster.
const CLUSTER: &str = "cluster";
/// The reference of the node OS.
const OS: &str = "os";

/// (CycloneDX 1.6, `components`)
#[derive(Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

/// (CycloneDX 1.6, `hashes`)
#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

/// Components and their dependencies, by reference.
#[derive(Default)]
struct Graph {
    components: BTreeMap<String, Component>,
    dependencies: BTreeMap<String, BTreeSet<String>>,
}

/// The text of the bill.
pub(super) fn text(provider: &Provider, materials: &Materials) -> Vec<u8> {
    let graph = Graph::of(provider, materials);
    let version = provider.recipe.kubernetes.to_string();
    let dependencies = graph.dependencies.iter();
    let bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [
                {"type": "application", "name": "parbake", "version": env!("CARGO_PKG_VERSION")},
            ]},
            "component": component("platform", CLUSTER, provider.name.as_str(), &version),
        },
        "components": graph.components.values().collect::<Vec<_>>(),
        "dependencies": dependencies
            .map(|(of, on)| json!({"ref": of, "dependsOn": on}))
            .collect::<Vec<_>>(),
    });
    bom.to_string().into_bytes()
}

impl Graph {
    fn of(provider: &Provider, materials: &Materials) -> Self {
        let mut graph = Self::default();
        graph.add(match &materials.os {
            None => component("operating-system", OS, "debian", &materials.suite),
            Some(given) => {
                let name = match given.name.id.as_str() {
                    "" => "unknown",
                    id => id,
                };
                let mut os = component("operating-system", OS, name, &given.name.version);
                os.hashes = vec![sha256(&given.digest)];
                os
            }
        });
        graph.depend(CLUSTER, OS.to_owned());
        graph.packages(OS, materials, OS);
        for (name, binary) in &materials.binaries {
            graph.binary(name, binary);
        }
        let on_nodes = provider.recipe.os.binaries.iter();
        for name in on_nodes.filter(|name| materials.binaries.contains_key(*name)) {
            graph.depend(CLUSTER, binary_ref(name));
        }
        for (name, image) in &materials.images {
            let own = format!("image/{name}");
            let (repository, version) = image.reference.rsplit_once(':').unwrap_or((&image.reference, ""));
            graph.add(component("container", &own, repository, version));
            graph.depend(CLUSTER, own.clone());
            for binary in &image.binaries {
                graph.depend(&own, binary_ref(binary));
            }
            graph.packages(&own, materials, &own);
        }
        graph
    }

    fn add(&mut self, component: Component) {
        self.dependencies.entry(component.bom_ref.clone()).or_default();
        self.components.insert(component.bom_ref.clone(), component);
    }

    fn depend(&mut self, of: &str, on: String) {
        self.dependencies.entry(of.to_owned()).or_default().insert(on);
    }

    fn packages(&mut self, of: &str, materials: &Materials, set: &str) {
        for package in materials.packages.get(set).into_iter().flatten() {
            let package = deb(package, materials);
            self.depend(of, package.bom_ref.clone());
            self.add(package);
        }
    }

    fn binary(&mut self, name: &str, binary: &BinaryMaterial) {
        let own = binary_ref(name);
        let mut built = component("application", &own, name, &binary.version);
        built.hashes = vec![sha256(&binary.sha256)];
        self.add(built);
        let Some(go) = &binary.go else {
            return;
        };
        let library = purl::go_library(&go.go);
        let mut stdlib = component("library", &library, "stdlib", &go.go);
        stdlib.purl = Some(library.clone());
        self.depend(&own, library);
        self.add(stdlib);
        for module in std::iter::once(&go.main).chain(&go.modules) {
            let module = golang(module);
            self.depend(&own, module.bom_ref.clone());
            self.add(module);
        }
    }
}

fn binary_ref(name: &str) -> String {
    format!("binary/{name}")
}

fn component(kind: &'static str, bom_ref: &str, name: &str, version: &str) -> Component {
    Component {
        kind,
        bom_ref: bom_ref.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        hashes: Vec::new(),
        purl: None,
    }
}

fn sha256(digits: &str) -> Hash {
    Hash {
        alg: "SHA-256",
        content: digits.to_owned(),
    }
}

fn deb(package: &Package, materials: &Materials) -> Component {
    let purl = purl::deb(package, &materials.architecture, &materials.suite);
    let mut component = component("library", &purl, &package.name, &package.version);
    component.hashes = vec![sha256(&package.sha256)];
    component.purl = Some(purl);
    component
}

/// CycloneDX has no hash of the kind of a module's checksum; the provenance has it instead.
fn golang(module: &GoModule) -> Component {
    let purl = purl::golang(module);
    let mut component = component("library", &purl, &module.path, &module.version);
    component.purl = Some(purl);
    component
}
