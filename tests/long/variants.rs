//! Variants of a provider: different add-ons on shared layers, stored once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use parbake_test_support::place::{Outcome, PROVIDER, Place, check};

/// What each variant bakes itself: the runtime's databases, which list the images, and the machine.
const OWN: [&str; 2] = ["runtime", "machine/node01"];

/// Bakes two variants on one node; shared layers have the same digests and are stored once.
pub(crate) fn share(place: &Place) -> Outcome {
    let [slim, full] = [bake(place, "slim")?, bake(place, "full")?];
    for (title, digest) in &slim {
        let same = full.get(title) == Some(digest);
        check(same != OWN.contains(&title.as_str()), || {
            format!("`{title}` is {digest} in one, {:?} in the other", full.get(title))
        })?;
    }
    let more: Vec<&String> = full.keys().filter(|title| !slim.contains_key(*title)).collect();
    let images = [
        "image/local-path-provisioner",
        "image/local-storage-helper",
        "image/metrics-server",
        "image/traefik",
    ];
    check(more == images, || format!("{more:?}"))?;
    kept_once(place)?;
    without(place)?;
    for variant in ["slim", "full"] {
        place.run(&["artifact", "remove", &tag(variant)])?;
    }
    Ok(())
}

fn tag(variant: &str) -> String {
    format!("{PROVIDER}-{variant}")
}

/// The digests of the layers by title.
fn bake(place: &Place, variant: &str) -> Result<BTreeMap<String, String>, String> {
    let words = ["provision", PROVIDER, "--source", "modules", "--nodes", "1"];
    let words = [&words[..], &["--variant", variant]].concat();
    let report = place.json(&words)?;
    check(report["tag"] == tag(variant), || format!("{report}"))?;
    let again = place.json(&[&words[..], &["--explain"]].concat())?;
    check(again["unchanged"] == true, || format!("{again}"))?;
    let provenance = place.json_of(&["artifact", "provenance", &tag(variant)])?;
    let parameters = &provenance["predicate"]["buildDefinition"]["externalParameters"];
    check(parameters["variant"] == variant, || format!("{parameters}"))?;
    let inspected = place.json(&["artifact", "inspect", &tag(variant)])?;
    let layers = inspected["layers"].as_array().into_iter().flatten();
    let text = |layer: &Value, field: &str| layer[field].as_str().unwrap_or_default().to_owned();
    Ok(layers
        .map(|layer| (text(layer, "title"), text(layer, "digest")))
        .collect())
}

/// Nearly everything of the slim variant is shared with the full one.
fn kept_once(place: &Place) -> Outcome {
    let list = place.json(&["artifact", "list"])?;
    let mut lines = list.as_array().into_iter().flatten();
    let slim = lines
        .find(|line| line["tag"] == tag("slim"))
        .unwrap_or(&Value::Null);
    let bytes = |field: &str| slim[field].as_u64().unwrap_or_default();
    check(
        bytes("disk_bytes") > 500_000_000 && bytes("own_bytes") < bytes("disk_bytes") / 10,
        || format!("{slim}"),
    )?;
    let with = slim["shared_with"].as_array();
    check(
        with.is_some_and(|tags| tags.contains(&json!(tag("full")))),
        || format!("{slim}"),
    )
}

/// The slim variant has neither add-ons nor services.
fn without(place: &Place) -> Outcome {
    place.run(&["up", &tag("slim"), "--name", "slim"])?;
    let words = ["kubectl", "--name", "slim", "get"];
    let outcome = (|| {
        let classes = place.run(&[&words[..], &["storageclass", "-o", "name"]].concat())?;
        let pods = place.run(&[&words[..], &["pods", "-A", "-o", "name"]].concat())?;
        let own = ["traefik", "metrics", "local-path"];
        check(
            classes.trim().is_empty() && !own.iter().any(|name| pods.contains(name)),
            || format!("{classes}{pods}"),
        )?;
        let unit = ["exec", "--name", "slim", "node01", "--", "systemctl", "is-active"];
        let running = place.run(&[&unit[..], &["kubelet", "containerd"]].concat())?;
        check(running == "active\nactive\n", || running.clone())?;
        let services = ["parbake-registry", "parbake-dns"];
        place
            .run(&[&unit[..], &services].concat())
            .map_or(Ok(()), |running| Err(format!("services run: {running}")))
    })();
    place.run(&["down", "--name", "slim"])?;
    outcome
}
