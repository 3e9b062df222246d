//! Documents about an artifact, and signatures made and checked by cosign.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use parbake_test_support::other_state_dir::{Other, write};
use parbake_test_support::place::{Outcome, PROVIDER, Place, check};
use parbake_test_support::registry::{Registry, artifact, raw, skopeo};
use parbake_test_support::variant::Variant;

/// The password of keys that cosign creates.
const PASSWORD: &str = "a good one";
const SBOM: &str = "application/vnd.cyclonedx+json";
const PROVENANCE: &str = "application/vnd.in-toto+json";

/// SBOM and provenance exist after the bake and after a pull; other tools find them by their subject.
pub(crate) fn documents(place: &Place) -> Outcome {
    let sbom = place.run(&["artifact", "sbom", PROVIDER])?;
    let bom = parsed(&sbom)?;
    let components = bom["components"].as_array().ok_or("no components")?;
    let has = |start: &str| {
        let mut purls = components
            .iter()
            .filter_map(|component| component["purl"].as_str());
        check(purls.any(|purl| purl.starts_with(start)), || {
            format!("`{start}` is not among {} components", components.len())
        })
    };
    for start in [
        "pkg:deb/debian/containerd@",
        "pkg:golang/k8s.io/kubernetes@v1.34.4",
        "pkg:golang/go.etcd.io/etcd/server/v3@v3.6.5",
        "pkg:golang/google.golang.org/grpc@v",
        "pkg:golang/stdlib@1.",
    ] {
        has(start)?;
    }
    let provenance = place.run(&["artifact", "provenance", PROVIDER])?;
    let statement = parsed(&provenance)?;
    let digest = text(&artifact(place)?["digest"])?;
    let hex = digest.trim_start_matches("sha256:");
    check(statement["subject"][0]["digest"]["sha256"] == hex, || {
        format!("{}", statement["subject"])
    })?;
    check(
        statement["predicate"]["buildDefinition"]["resolvedDependencies"]
            .as_array()
            .is_some_and(|inputs| inputs.len() > 300),
        || "inputs are missing".to_owned(),
    )?;

    let registry = Registry::start(place, None)?;
    let reference = registry.reference("supply/documents");
    let publish = ["publish", PROVIDER, &reference, "--plain-http"];
    place.json(&publish)?;
    check(place.json(&publish)?["unchanged"] == true, || {
        "published twice, it is not the same".to_owned()
    })?;
    let listed = raw(&format!("{reference}:sha256-{hex}"))?;
    let entries = listed["manifests"].as_array().ok_or("no list of referrers")?;
    let types: Vec<_> = entries
        .iter()
        .map(|entry| entry["artifactType"].clone())
        .collect();
    check(types == [json!(SBOM), json!(PROVENANCE)], || format!("{listed}"))?;
    let manifest = raw(&format!("{reference}@{}", text(&entries[0]["digest"])?))?;
    check(manifest["subject"]["digest"] == digest, || format!("{manifest}"))?;
    // cosign reads the referrers too.
    let tree = cosign(place, &["tree", "--experimental-oci11", &reference])?;
    check(tree.contains("cyclonedx") && tree.contains("in-toto"), || {
        tree.clone()
    })?;

    let other = Other::new(place, "documents")?;
    other.run(place, &["pull", &reference, "--plain-http", "--tag", "k8s"])?;
    for (word, expected) in [("sbom", &sbom), ("provenance", &provenance)] {
        let found = other.run(place, &["artifact", word, "k8s"])?;
        check(found == *expected, || format!("another {word} came"))?;
    }
    other.run(place, &["artifact", "verify", "k8s"])?;
    other.run(place, &["artifact", "remove", "k8s"])?;
    let left = other.arrived()?;
    check(left == (0, 0), || format!("{left:?} bytes of blobs are left"))?;
    other.clear()
}

/// cosign accepts parbake's signatures with keys of cosign and of openssl.
pub(crate) fn parbake_signs(place: &Place) -> Outcome {
    let keys = Keys::make(place)?;
    let registry = Registry::start(place, None)?;
    let reference = registry.reference("supply/parbake");
    let (cosigns, openssls) = (text_of(&keys.cosign)?, text_of(&keys.openssl)?);
    let publish = |key: &str| {
        let words = [
            "--output",
            "json",
            "publish",
            PROVIDER,
            &reference,
            "--plain-http",
            "--sign",
            key,
        ];
        let output = place.command(&words).env("COSIGN_PASSWORD", PASSWORD).output();
        succeeded("publish", output).and_then(|text| parsed(&text))
    };
    check(publish(&cosigns)?["unchanged"] == false, || {
        "nothing was signed".to_owned()
    })?;
    verified(place, &keys.cosign, &reference)?;
    refused(place, &keys.openssl, &reference)?;
    check(publish(&cosigns)?["unchanged"] == true, || {
        "it was signed again".to_owned()
    })?;
    // A second signature beside the first.
    publish(&openssls)?;
    verified(place, &keys.cosign, &reference)?;
    verified(place, &keys.openssl, &reference)?;
    refused(place, &keys.other, &reference)?;

    let other = Other::new(place, "signed")?;
    other.run(place, &["pull", &reference, "--plain-http", "--tag", "k8s"])?;
    for (dir, tag, key) in [
        (place.dir().display().to_string(), PROVIDER, &keys.cosign),
        (other.text.clone(), "k8s", &keys.openssl),
    ] {
        let verify = |key: &Path| {
            let public = text_of(&public(key))?;
            place.json(&["--dir", &dir, "artifact", "verify", tag, "--key", &public])
        };
        // Both signatures are on both machines.
        let report = verify(key)?;
        check(
            report["signed"][0]["documents"] == json!(["sbom", "provenance"]),
            || format!("{report}"),
        )?;
        check(verify(&keys.other).is_err(), || "any key will do".to_owned())?;
    }
    let base = ["publish", PROVIDER, &reference, "--plain-http", "--sign"];
    let absent = place.dir().join("keys/absent");
    place.refused(&[&base[..], &[&cosigns]].concat(), &["COSIGN_PASSWORD"])?;
    place.refused_with(
        &[&base[..], &[&cosigns]].concat(),
        &[("COSIGN_PASSWORD", Path::new("wrong"))],
        &["does not open the key"],
    )?;
    place.refused(
        &[&base[..], &[&text_of(&absent)?]].concat(),
        &["cannot read the key"],
    )?;
    other.clear()
}

/// parbake accepts cosign's signatures, and neither removes the other's.
pub(crate) fn cosign_signs(place: &Place) -> Outcome {
    // A separate artifact, because signatures are published with the baked one.
    Variant::small(place)?.with_tag(place, "cosign", || {
        let outcome = signed_by_cosign(place);
        place.run(&["artifact", "remove", "signed"])?;
        outcome
    })
}

fn signed_by_cosign(place: &Place) -> Outcome {
    let keys = Keys::make(place)?;
    let registry = Registry::start(place, None)?;
    let reference = registry.reference("supply/cosign");
    let published = place.json(&["publish", "cosign", &reference, "--plain-http"])?;
    let pinned = text(&published["pinned"])?;
    refused(place, &keys.cosign, &pinned)?;
    sign(place, &keys.cosign, &pinned)?;
    let pull = ["pull", &reference, "--plain-http", "--tag", "signed"];
    place.run(&pull)?;
    let verify = |key: &Path| {
        let public = text_of(&public(key))?;
        place.json(&["artifact", "verify", "signed", "--key", &public])
    };
    verify(&keys.cosign)?;
    check(verify(&keys.other).is_err(), || "any key will do".to_owned())?;
    let openssls = text_of(&keys.openssl)?;
    let words = ["publish", "signed", &reference, "--plain-http"];
    place.run(&[&words[..], &["--sign", &openssls]].concat())?;
    sign(place, &keys.other, &pinned)?;
    place.run(&pull)?;
    for key in [&keys.cosign, &keys.openssl, &keys.other] {
        verified(place, key, &pinned)?;
        verify(key)?;
    }
    // A copy in a mirror is signed too.
    let mirror = registry.reference("supply/mirror");
    place.run(&["publish", "signed", &mirror, "--plain-http"])?;
    verified(place, &keys.cosign, &mirror)?;

    // A payload that the registry changed.
    let hex = text(&published["digest"])?.replace("sha256:", "");
    let signatures = raw(&format!("{reference}:sha256-{hex}.sig"))?;
    let payload = registry.blob(&text(&signatures["layers"][0]["digest"])?);
    let whole = fs::read_to_string(&payload).map_err(|error| error.to_string())?;
    write(&payload, whole.replace(&hex, &"0".repeat(64)).as_bytes())?;
    let other = Other::new(place, "tampered")?;
    let words = [&["--dir", &other.text], &pull[..]].concat();
    place.refused(&words, &["a signed payload of"])?;
    check(other.json(place, &["artifact", "list"])? == json!([]), || {
        "it was pulled all the same".to_owned()
    })?;
    write(&payload, whole.as_bytes())?;
    other.clear()
}

/// With a policy, unsigned artifacts are neither pulled nor started.
pub(crate) fn policy(place: &Place) -> Outcome {
    let keys = Keys::make(place)?;
    let registry = Registry::start(place, None)?;
    let (plain, signed) = (registry.reference("supply/k8s"), registry.reference("signed/k8s"));
    let other = Other::new(place, "policy")?;
    let key = text_of(&keys.openssl)?;
    // An artifact that earlier tests did not sign, then the signed one.
    let mut unsigned = Value::Null;
    Variant::small(place)?.with_tag(place, "unsigned", || {
        unsigned = place.json(&["publish", "unsigned", &plain, "--plain-http"])?;
        Ok(())
    })?;
    let report = place.json(&["publish", PROVIDER, &signed, "--plain-http", "--sign", &key])?;

    // Pulled before the policy existed.
    other.run(place, &["pull", &plain, "--plain-http", "--tag", "plain"])?;
    let path = other.dir.join("policy.toml");
    let public = text_of(&public(&keys.openssl))?;
    write(
        &path,
        format!("refuse-unsigned = true\nkeys = [\"{public}\"]\n").as_bytes(),
    )?;
    let refuses = |words: &[&str], message: &[&str]| {
        place.refused(&[&["--dir", &other.text], words].concat(), message)?;
        check(!other.dir.join("clusters/default").exists(), || {
            "a cluster was begun".to_owned()
        })
    };
    let message = [
        "has no signature by a key in",
        "policy.toml",
        "it is unsigned",
        "--sign",
    ];
    refuses(&["up", "plain", "--nodes", "1"], &message)?;
    refuses(&["pull", &plain, "--plain-http"], &message)?;
    refuses(&["up", &plain, "--plain-http", "--nodes", "1"], &message)?;
    // With the signature of another digest.
    let hex = |report: &Value| text(&report["digest"]).map(|digest| digest.replace("sha256:", ""));
    let tag = |repository: &str, hex: &str| format!("docker://{repository}:sha256-{hex}.sig");
    let (good, wanted) = (tag(&signed, &hex(&report)?), tag(&plain, &hex(&unsigned)?));
    skopeo(&[
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &good,
        &wanted,
    ])?;
    refuses(
        &["pull", &plain, "--plain-http"],
        &["signed with other keys, or the signature is of something else"],
    )?;
    let listed = other.json(place, &["artifact", "list"])?;
    check(listed.as_array().is_some_and(|listed| listed.len() == 1), || {
        format!("something was pulled: {listed}")
    })?;
    for (text, message) in [
        ("refuse-unsigned = maybe", "TOML parse error at line 1"),
        (
            "refuse-unsigned = true\nkeys = [\"absent.pub\"]",
            "cannot read the key",
        ),
    ] {
        let good = fs::read(&path).map_err(|error| error.to_string())?;
        write(&path, text.as_bytes())?;
        refuses(&["pull", &signed, "--plain-http"], &["policy.toml", message])?;
        refuses(&["up", &signed, "--plain-http"], &["policy.toml", message])?;
        write(&path, &good)?;
    }

    other.run(place, &["pull", &signed, "--plain-http"])?;
    drop(registry);
    let started = other.starts(place, &signed, &report["digest"]);
    other.run(place, &["down"])?;
    started?;
    other.clear()
}

/// Private keys; the public keys are beside them.
struct Keys {
    /// Created by cosign, encrypted.
    cosign: PathBuf,
    /// Created by openssl, not encrypted.
    openssl: PathBuf,
    /// Another key of cosign.
    other: PathBuf,
}

impl Keys {
    fn make(place: &Place) -> Result<Self, String> {
        let dir = place.dir().join("keys");
        fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        let keys = Self {
            cosign: dir.join("cosign.key"),
            openssl: dir.join("openssl.key"),
            other: dir.join("other.key"),
        };
        for key in [&keys.cosign, &keys.other] {
            if !key.exists() {
                let prefix = text_of(&key.with_extension(""))?;
                cosign(place, &["generate-key-pair", "--output-key-prefix", &prefix])?;
            }
        }
        if !keys.openssl.exists() {
            let (private, public) = (text_of(&keys.openssl)?, text_of(&public(&keys.openssl))?);
            let curve = "ec_paramgen_curve:P-256";
            openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", &private])?;
            openssl(&["pkey", "-in", &private, "-pubout", "-out", &public])?;
        }
        Ok(keys)
    }
}

fn public(private: &Path) -> PathBuf {
    private.with_extension("pub")
}

fn openssl(words: &[&str]) -> Outcome {
    succeeded("openssl", Command::new("openssl").args(words).output()).map(drop)
}

/// Runs cosign, which `./dev test` builds.
fn cosign(place: &Place, words: &[&str]) -> Result<String, String> {
    succeeded("cosign", run_cosign(place, words))
}

fn run_cosign(place: &Place, words: &[&str]) -> std::io::Result<Output> {
    Command::new("cosign")
        .args(words)
        .env("COSIGN_PASSWORD", PASSWORD)
        .env("COSIGN_EXPERIMENTAL", "1")
        .env("HOME", place.dir())
        .stdin(Stdio::null())
        .output()
}

fn sign(place: &Place, key: &Path, pinned: &str) -> Outcome {
    let key = text_of(key)?;
    cosign(
        place,
        &["sign", "--yes", "--tlog-upload=false", "--key", &key, pinned],
    )
    .map(drop)
}

fn verify(place: &Place, key: &Path, reference: &str) -> Result<Output, String> {
    let key = text_of(&public(key))?;
    let words = ["verify", "--insecure-ignore-tlog=true", "--key", &key, reference];
    run_cosign(place, &words).map_err(|error| format!("cosign: {error}"))
}

fn verified(place: &Place, key: &Path, reference: &str) -> Outcome {
    succeeded("cosign verify", Ok(verify(place, key, reference)?)).map(drop)
}

fn refused(place: &Place, key: &Path, reference: &str) -> Outcome {
    let output = verify(place, key, reference)?;
    check(!output.status.success(), || {
        format!("cosign accepts {reference} with {}", key.display())
    })?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    check(message.contains("signature"), || message.clone())
}

fn succeeded(what: &str, output: std::io::Result<Output>) -> Result<String, String> {
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    check(output.status.success(), || {
        format!("{what}: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parsed(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))
}

fn text(value: &Value) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("{value} is no text"))
}

fn text_of(path: &Path) -> Result<String, String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| "a path that is no text".to_owned())
}
