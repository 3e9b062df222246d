//! Container runtimes other than containerd.

use serde_json::{Value, json};

use crate::versions::{Baked, holds};
use parbake_test_support::place::{Outcome, PROVIDER, Place, check};
use parbake_test_support::swap::{OTHER, changed, reported};

/// A runtime that the default provider offers.
struct Chosen {
    name: &'static str,
    /// The name of the artifact.
    tag: &'static str,
    /// Its log in an export, and programs that write to it.
    log: (&'static str, &'static [&'static str]),
    /// What the SBOM contains because of it, and what it lacks.
    parts: &'static [&'static str],
    without: Option<&'static str>,
}

const CRI_O: Chosen = Chosen {
    name: "cri-o",
    tag: "with-cri-o",
    log: ("crio.log", &["crio["]),
    parts: &[
        "github.com/cri-o/cri-o@v1.34.0",
        "pkg:deb/debian/conmon@",
        "\"pinns\"",
    ],
    without: Some("pkg:deb/debian/containerd@"),
};
const DOCKER: Chosen = Chosen {
    name: "docker",
    tag: "with-docker",
    log: ("docker.log", &[" dockerd[", " cri-dockerd["]),
    parts: &[
        "github.com/Mirantis/cri-dockerd@v0.3.17",
        "pkg:deb/debian/docker.io@",
    ],
    without: None,
};
/// What the test swaps: a program of the nodes, one in a static pod's image, and one in a daemon set's image.
const SCHEDULER: &str = "kube-scheduler";
const PROXY: &str = "kube-proxy";

/// CRI-O with the default provider.
pub(crate) fn cri_o(place: &Place) -> Outcome {
    refused(place)?;
    like_containerd(place, &CRI_O, |place| more(place, &CRI_O))
}

/// Docker with the default provider.
pub(crate) fn docker(place: &Place) -> Outcome {
    like_containerd(place, &DOCKER, |place| more(place, &DOCKER))
}

fn like_containerd(place: &Place, chosen: &Chosen, more: fn(&Place) -> Outcome) -> Outcome {
    let baked = Baked {
        provider: PROVIDER,
        runtime: chosen.name,
        tag: chosen.tag,
    };
    // The artifact with containerd is unchanged: a bake of it would do nothing.
    let plain = ["provision", PROVIDER, "--source", "modules", "--explain"];
    let before = place.json(&plain)?;
    check(before["unchanged"] == true, || format!("{before}"))?;
    holds(place, &baked, more)?;
    let after = place.json(&plain)?;
    check(after["unchanged"] == true, || format!("{after}"))
}

/// Unsupported choices fail at the start.
fn refused(place: &Place) -> Outcome {
    place.refused(
        &["provision", "k8s-1.17", "--runtime", "cri-o"],
        &["`k8s-1.17` does not support the container runtime `cri-o`; use `containerd`"],
    )?;
    let shown = place.json(&["provider", "show", PROVIDER])?;
    check(
        shown["runtimes"] == json!(["containerd", "cri-o", "docker"]),
        || format!("{shown}"),
    )
}

fn more(place: &Place, chosen: &Chosen) -> Outcome {
    says_so(place, chosen)?;
    logs(place, chosen)?;
    privileged(place)?;
    swaps(place)
}

/// The artifact and its documents name the runtime.
fn says_so(place: &Place, chosen: &Chosen) -> Outcome {
    let Chosen { name, tag, .. } = chosen;
    let inspected = place.json(&["artifact", "inspect", tag])?;
    check(inspected["runtime"] == *name, || format!("{inspected}"))?;
    let text = place.run(&["artifact", "inspect", tag])?;
    check(text.contains(&format!("runtime     {name}\n")), || text.clone())?;
    let provenance = place.json_of(&["artifact", "provenance", tag])?;
    let parameters = &provenance["predicate"]["buildDefinition"]["externalParameters"];
    check(parameters["runtime"] == *name, || format!("{parameters}"))?;
    let sbom = place.run(&["artifact", "sbom", tag])?;
    for part in chosen.parts {
        check(sbom.contains(part), || {
            format!("no {part} in the bill of materials")
        })?;
    }
    let there = chosen.without.filter(|part| sbom.contains(part));
    check(there.is_none(), || {
        format!("{there:?} is in the bill of materials")
    })
}

/// The runtime's journal is in an export, under its name.
fn logs(place: &Place, chosen: &Chosen) -> Outcome {
    let dir = tempfile::tempdir_in(place.dir()).map_err(|error| error.to_string())?;
    let to = dir.path().join("logs");
    let report = place.json(&["logs", "--export", &to.display().to_string()])?;
    check(report["missing"] == json!([]), || format!("{report}"))?;
    let (file, programs) = chosen.log;
    let log = std::fs::read_to_string(to.join("node02").join(file)).map_err(|error| error.to_string())?;
    let wrote = |program: &&str| log.contains(*program);
    check(programs.iter().all(wrote), || log.clone())
}

/// A privileged container starts, with the capabilities that the host has.
fn privileged(place: &Place) -> Outcome {
    let query = "jsonpath={.items[0].metadata.name}";
    let words = [
        "kubectl",
        "get",
        "pods",
        "-n",
        "kube-system",
        "-l",
        "k8s-app=kube-proxy",
    ];
    let proxy = place.run(&[&words[..], &["-o", query]].concat())?;
    let exec = ["kubectl", "exec", "-n", "kube-system", &proxy, "--"];
    let rules = place.run(&[&exec[..], &["iptables-save", "-t", "nat"]].concat())?;
    check(rules.contains("KUBE-SERVICES"), || rules.clone())
}

/// Programs of nodes and images are replaced, the latter without a packed layer as a base, and stay after a stop.
fn swaps(place: &Place) -> Outcome {
    let in_image = |name: &str| {
        let path = format!("var/lib/parbake/images/{name}/0/usr/local/bin/{name}");
        let file = changed(place, &format!("image/{name}"), &path)?;
        Ok::<_, String>(format!("{name}={}", file.display()))
    };
    let kubelet = changed(place, "kubelet", "usr/bin/kubelet")?;
    let kubelet = format!("kubelet={}", kubelet.display());
    let (scheduler, proxy) = (in_image(SCHEDULER)?, in_image(PROXY)?);
    let report = place.json(&["swap", &kubelet, &scheduler, &proxy, "--wait", "240s"])?;
    let swapped = report["swapped"].as_array().map(Vec::len);
    check(swapped == Some(3), || report.to_string())?;
    at_work(place)?;
    place.run(&["stop"])?;
    place.run(&["start"])?;
    at_work(place)?;
    for name in ["kubelet", SCHEDULER, PROXY] {
        std::fs::remove_file(place.dir().join(name)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn at_work(place: &Place) -> Outcome {
    for node in ["node01", "node03"] {
        let kubelet = reported(place, "default", node)?;
        check(kubelet == OTHER, || format!("{node}: {kubelet}"))?;
    }
    let pods = place.run(&["kubectl", "get", "pods", "-n", "kube-system", "-o", "json"])?;
    let pods: Value = serde_json::from_str(&pods).map_err(|error| error.to_string())?;
    let images: Vec<&str> = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str())
        .collect();
    for (name, count) in [(SCHEDULER, 1), (PROXY, 3)] {
        let with = images
            .iter()
            .filter(|image| image.contains(&format!("{name}:v1.34.4-swap.")));
        check(with.count() == count, || format!("{name}: {images:?}"))?;
    }
    Ok(())
}
