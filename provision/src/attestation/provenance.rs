//! The provenance: SLSA provenance v1 (slsa.dev/provenance/v1) in an in-toto Statement v1
//! (in-toto/attestation, `spec/v1/statement.md`).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parbake_artifact::Artifact;
use serde_json::{Value, json};

use super::{Attestation, purl};
use crate::inputs::GoModule;

/// The build type, which defines the parameters.
const BUILD_TYPE: &str = "https://parbake.dev/bake/v1";
const BUILDER: &str = "https://parbake.dev/provision";

/// The text of the statement about `artifact`.
pub(super) fn text(attestation: &Attestation<'_>, artifact: &Artifact) -> Vec<u8> {
    let materials = attestation.materials;
    let files = materials
        .files
        .iter()
        .map(|(name, sha256)| json!({"name": name, "digest": {"sha256": sha256}}));
    // Sets share packages.
    let packages: BTreeSet<_> = materials
        .packages
        .values()
        .flatten()
        .map(|package| {
            (
                purl::deb(package, &materials.architecture, &materials.suite),
                package.sha256.as_str(),
            )
        })
        .collect();
    let builds: Vec<_> = materials
        .binaries
        .values()
        .filter_map(|binary| binary.go.as_ref())
        .collect();
    let modules: BTreeSet<_> = builds
        .iter()
        .flat_map(|go| std::iter::once(&go.main).chain(&go.modules))
        .collect();
    let toolchains: BTreeSet<_> = builds.iter().map(|go| go.go.as_str()).collect();
    let downloads = materials.downloads.iter().map(|download| {
        let uri = match download.name.contains("://") {
            true => download.name.clone(),
            // The scheme that other tools use in attestations of images.
            false => format!("oci://{}", download.name),
        };
        json!({"uri": uri, "digest": {"sha256": download.digest.hex()}})
    });
    let given = materials.local_files.iter();
    let given =
        given.map(|(name, sha256)| json!({"name": format!("given/{name}"), "digest": {"sha256": sha256}}));
    let os = materials
        .os
        .iter()
        .map(|os| json!({"name": "given/os", "digest": {"sha256": os.digest}}));
    let mut parameters = json!({
        "provider": attestation.provider.name.as_str(),
        "source": materials.source,
        "nodes": artifact.config.machines.len(),
    });
    if let Some(variant) = &attestation.provider.variant {
        parameters["variant"] = json!(variant.as_str());
    }
    if attestation.provider.recipe.runtime != attestation.provider.recipe.default_runtime {
        parameters["runtime"] = json!(attestation.provider.recipe.runtime);
    }
    if materials.base != materials.source {
        parameters["base"] = json!(materials.base);
    }
    // Only if something was downloaded.
    let mirrors = materials
        .mirrors
        .iter()
        .filter(|_| !materials.downloads.is_empty());
    for (name, mirror) in mirrors {
        parameters[*name] = json!(mirror);
    }
    let dependencies: Vec<Value> = files
        .chain(downloads)
        .chain(given)
        .chain(os)
        .chain(
            packages
                .iter()
                .map(|(uri, sha256)| json!({"uri": uri, "digest": {"sha256": sha256}})),
        )
        .chain(modules.into_iter().map(module))
        .collect();
    let binaries = materials
        .binaries
        .iter()
        .map(|(name, binary)| json!({"name": name, "digest": {"sha256": binary.sha256}}));
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{
            "name": artifact.config.provider,
            "digest": {"sha256": artifact.digest.hex()},
        }],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": parameters,
                "internalParameters": {
                    "architecture": materials.architecture,
                    "inputs": attestation.inputs,
                    "kubernetes": attestation.provider.recipe.kubernetes.to_string(),
                    "toolchains": toolchains.iter().map(|go| format!("go{go}")).collect::<Vec<_>>(),
                },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"parbake": artifact.config.parbake}},
                "metadata": {"finishedOn": artifact.config.created.to_string()},
                "byproducts": binaries.collect::<Vec<_>>(),
            },
        },
    })
    .to_string()
    .into_bytes()
}

/// A module with its checksum: in-toto's `dirHash` is Go's `h1:` in hexadecimal (in-toto/attestation,
/// `spec/v1/digest_set.md`).
fn module(module: &GoModule) -> Value {
    let mut value = json!({"uri": purl::golang(module)});
    let sum = module
        .sum
        .strip_prefix("h1:")
        .and_then(|sum| STANDARD.decode(sum).ok());
    if let Some(sum) = sum {
        value["digest"] = json!({"dirHash": hex::encode(sum)});
    }
    value
}
