//! Bakes from published files, and from a developer's build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::mirror::Mirror;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check, record_tested};
use parbake_test_support::published::run;

/// The version that the changed components report.
const CHANGED: &str = "v1.34.4-changed";
/// The output directory of `make`.
const BUILT: &str = "_output/local/bin/linux/amd64";

/// Without pins nothing is baked; with pins everything comes from the mirrors, and the cluster works.
pub(crate) fn released(place: &Place) -> Outcome {
    place.run(&[
        "provision",
        PROVIDER,
        "--nodes",
        "1",
        "--tag",
        "modules",
        "--source",
        "modules",
    ])?;
    let mirror = Mirror::start(place)?;
    let options = mirror.options();
    let with = |words: &[&str]| {
        let options = options.iter().map(String::as_str);
        let words: Vec<&str> = words.iter().copied().chain(options).collect();
        mirror.run(place, &words)
    };
    let bake = [
        "provision",
        PROVIDER,
        "--nodes",
        "1",
        "--tag",
        "released",
        "--output",
        "json",
    ];
    let release = [&bake[..], &["--source", "release"]].concat();
    let error = with(&release).err().unwrap_or_default();
    check(error.contains("does not have the digest in the lock"), || {
        error.clone()
    })?;
    with(&["provider", "update", PROVIDER, "--only", "release"])?;
    let baked = parsed(&with(&release)?)?;
    check(baked["unchanged"] == false, || baked.to_string())?;
    let build = definition(place, "released")?;
    let parameters = &build["externalParameters"];
    check(
        parameters["source"] == "release" && parameters["binaryMirror"] == options[1].as_str(),
        || parameters.to_string(),
    )?;
    let inputs = build["resolvedDependencies"].to_string();
    for uri in [
        "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet",
        "oci://registry.k8s.io/etcd:3.6.5-0",
    ] {
        check(inputs.contains(&format!("\"{uri}\"")), || {
            format!("`{uri}` is no input: {inputs}")
        })?;
    }
    check(!inputs.contains("modules/kubernetes/go.mod"), || {
        "it was not built".to_owned()
    })?;
    versions(place, "released", "v1.34.4")?;
    record_tested(place, "released", &["bake", "thaw", "mirrors"])?;
    // Cached files are not requested again.
    let again = parsed(&mirror.run(place, &bake)?)?;
    check(
        again["unchanged"] == true && again["digest"] == baked["digest"],
        || again.to_string(),
    )
}

/// The developer's build runs, on the node and in an image.
pub(crate) fn developed(place: &Place) -> Outcome {
    let checkout = place.dir().join("checkout");
    build(&checkout)?;
    let dir = checkout.display().to_string();
    place.run(&[
        "provision",
        PROVIDER,
        "--nodes",
        "1",
        "--tag",
        "developed",
        "--source",
        &dir,
    ])?;
    let build = definition(place, "developed")?;
    let parameters = &build["externalParameters"];
    check(
        parameters["source"] == "directory" && parameters["base"] == "modules",
        || parameters.to_string(),
    )?;
    check(
        build["resolvedDependencies"]
            .to_string()
            .contains("\"given/kubelet\""),
        || "what was given is no input".to_owned(),
    )?;
    versions(place, "developed", CHANGED)?;
    record_tested(place, "developed", &["bake", "thaw", "changed component"])
}

/// Builds a kubelet and an API server that report another version.
fn build(checkout: &Path) -> Outcome {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("no repository")?;
    let modules = repository
        .join("providers")
        .join(PROVIDER)
        .join("modules/kubernetes");
    let to: PathBuf = checkout.join(BUILT);
    fs::create_dir_all(&to).map_err(|error| error.to_string())?;
    let variable = |name: &str, value: &str| format!(" -X k8s.io/component-base/version.{name}={value}");
    let linker = ["-s -w -buildid=".to_owned(), variable("gitVersion", CHANGED)].concat();
    let more = [variable("gitMajor", "1"), variable("gitMinor", "34")].concat();
    let mut go = Command::new("go");
    go.args([
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        &(linker + &more),
        "-o",
    ])
    .arg(&to)
    .args([
        "k8s.io/kubernetes/cmd/kubelet",
        "k8s.io/kubernetes/cmd/kube-apiserver",
    ])
    .env("CGO_ENABLED", "0")
    .env("GOFLAGS", "-mod=readonly")
    .env("GOTOOLCHAIN", "go1.26.8")
    .env("GOWORK", "off")
    .current_dir(modules);
    run(&mut go).map(drop)
}

fn definition(place: &Place, tag: &str) -> Result<Value, String> {
    let statement = parsed(&place.run(&["artifact", "provenance", tag])?)?;
    Ok(statement["predicate"]["buildDefinition"].clone())
}

/// The API server and the kubelet of the cluster report `version`.
fn versions(place: &Place, tag: &str, version: &str) -> Outcome {
    place.run(&["up", tag, "--name", tag])?;
    let found = asked(place, tag);
    place.run(&["down", "--name", tag])?;
    let (server, kubelet) = found?;
    check(server == version && kubelet == version, || {
        format!("the API server is {server}, the kubelet {kubelet}")
    })
}

fn asked(place: &Place, name: &str) -> Result<(Value, Value), String> {
    let get = |path: &str| parsed(&place.run(&["kubectl", "--name", name, "get", "--raw", path])?);
    let server = get("/version")?;
    let nodes = get("/api/v1/nodes")?;
    let kubelet = nodes["items"][0]["status"]["nodeInfo"]["kubeletVersion"].clone();
    Ok((server["gitVersion"].clone(), kubelet))
}

fn parsed(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))
}
