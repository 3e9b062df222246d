//! Artifacts in registries: Debian's package of distribution, on a free port.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::other_state_dir::{Other, write};
use crate::place::{Outcome, PROVIDER, Place, check, eventually};
use crate::variant::Variant;

/// The user `me` with the password `secret`, as written by `htpasswd -B`.
const HTPASSWD: &str = "me:$2b$04$WRKxIqXD9jWbtq8IG5s/8ulV0jDzZwZJK5wApkyH26ZWdGcEjLFga\n";
/// `me:secret` and `me:wrong` in base64.
const GOOD: &str = "bWU6c2VjcmV0";
const BAD: &str = "bWU6d3Jvbmc=";

/// A running registry. All registries of a test run use the same storage, one after another.
pub struct Registry {
    child: Child,
    address: String,
    storage: PathBuf,
}

impl Registry {
    pub fn start(place: &Place, htpasswd: Option<&str>) -> Result<Self, String> {
        let dir = place.dir().join("registry");
        let storage = dir.join("storage");
        fs::create_dir_all(&storage).map_err(|error| error.to_string())?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| error.to_string())?.to_string();
        // JSON is YAML.
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": storage}},
            "http": {"addr": address},
        });
        if let Some(text) = htpasswd {
            let path = dir.join("htpasswd");
            write(&path, text.as_bytes())?;
            config["auth"] = json!({"htpasswd": {"realm": "tests", "path": path}});
        }
        let path = dir.join("config.yml");
        write(&path, config.to_string().as_bytes())?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("docker-registry: {error}"))?;
        let registry = Self {
            child,
            address,
            storage,
        };
        eventually("the registry", Duration::from_secs(10), || {
            TcpStream::connect(&registry.address)
                .map(drop)
                .map_err(|error| error.to_string())
        })?;
        Ok(registry)
    }

    /// A registry with the artifact as `clusters/k8s`, its reference, and the report of the publish.
    pub fn with_artifact(place: &Place) -> Result<(Self, String, Value), String> {
        Self::with(place, PROVIDER, "clusters/k8s")
    }

    /// A registry with a small artifact as `clusters/small`, its reference, and the report of the publish.
    fn with_small(place: &Place) -> Result<(Self, String, Value), String> {
        let mut found = Err("it was not published".to_owned());
        Variant::small(place)?.with_tag(place, "small", || {
            found = Self::with(place, "small", "clusters/small");
            Ok(())
        })?;
        found
    }

    fn with(place: &Place, tag: &str, repository: &str) -> Result<(Self, String, Value), String> {
        let registry = Self::start(place, None)?;
        let reference = registry.reference(repository);
        let report = place.json(&["publish", tag, &reference, "--plain-http"])?;
        Ok((registry, reference, report))
    }

    pub fn reference(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address)
    }

    /// The file that contains a blob.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.storage.join("docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Publish twice, read with other tools, pull into an empty store, start without the registry.
pub fn round_trip(place: &Place) -> Outcome {
    let (registry, reference, published) = Registry::with_artifact(place)?;
    let size = artifact(place)?["size_bytes"].as_u64().unwrap_or_default();
    check(
        bytes(&published, "moved_bytes") >= size && published["unchanged"] == false,
        || format!("{published}"),
    )?;
    let again = place.json(&["publish", PROVIDER, &reference, "--plain-http"])?;
    check(again["moved_bytes"] == 0 && again["unchanged"] == true, || {
        format!("{again}")
    })?;
    check(again["digest"] == artifact(place)?["digest"], || {
        format!("{again}")
    })?;
    let ends_with_events = place.json(&["events", "--all"])?;
    let ends_with_events = ends_with_events.as_array().map(Vec::as_slice).unwrap_or_default();
    check(
        ends_with_events.iter().any(|event| event["event"] == "baked"),
        || format!("{ends_with_events:?}"),
    )?;
    let last = ends_with_events.last().cloned().unwrap_or_default();
    check(
        last["event"] == "published" && last["artifact"] == PROVIDER,
        || format!("{ends_with_events:?}"),
    )?;
    let manifest = raw(&reference)?;
    check(
        manifest["config"]["mediaType"] == "application/vnd.parbake.cluster.config.v1+json",
        || format!("{manifest}"),
    )?;

    let other = Other::new(place, "pulled")?;
    let pulled = other.json(place, &["pull", &reference, "--plain-http"])?;
    check(
        pulled["tag"] == "k8s"
            && pulled["digest"] == published["digest"]
            && pulled["moved_bytes"] == published["moved_bytes"]
            && pulled["skipped_bytes"] == 0,
        || format!("{pulled}"),
    )?;
    let ends_with_events = other.json(place, &["events", "--all"])?;
    check(
        ends_with_events[0]["event"] == "pulled" && ends_with_events[0]["artifact"] == "k8s",
        || format!("{ends_with_events}"),
    )?;
    other.run(place, &["artifact", "verify", "k8s"])?;
    let listed = other.json(place, &["artifact", "inspect", "k8s"])?;
    check(listed["origin"] == format!("{reference}:latest"), || {
        format!("{listed}")
    })?;
    drop(registry);
    let outcome = other.starts(place, &reference, &published["digest"]);
    other.run(place, &["down"])?;
    outcome?;
    other.clear()
}

/// A pull that is killed resumes.
pub fn interrupted(place: &Place) -> Outcome {
    let (_registry, reference, published) = Registry::with_artifact(place)?;
    let other = Other::new(place, "interrupted")?;
    let mut child = other.spawn(place, &["pull", &reference, "--plain-http"])?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while other.arrived()?.0 < 20_000_000 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    check(matches!(child.try_wait(), Ok(None)), || {
        "it was done before it could be killed".to_owned()
    })?;
    child
        .kill()
        .and_then(|()| child.wait())
        .map_err(|error| error.to_string())?;
    check(other.json(place, &["artifact", "list"])? == json!([]), || {
        "half of an artifact is there".to_owned()
    })?;
    let (parts, whole) = other.arrived()?;
    check(parts > 0, || "nothing came in part".to_owned())?;
    let pulled = other.json(place, &["pull", &reference, "--plain-http"])?;
    let total = bytes(&published, "moved_bytes") + bytes(&published, "skipped_bytes");
    let (moved, skipped) = (bytes(&pulled, "moved_bytes"), bytes(&pulled, "skipped_bytes"));
    // Documents about the artifact are transferred first and not counted as parts of it.
    check(
        (parts..=parts + whole).contains(&skipped) && moved + skipped == total,
        || format!("{parts} in parts and {whole} whole of {total} were there, but then: {pulled}"),
    )?;
    other.run(place, &["artifact", "verify", "k8s"])?;
    other.clear()
}

/// An artifact copied by other tools is identical, and adds nothing to a store that has it.
pub fn copied(place: &Place) -> Outcome {
    let (registry, reference, published) = Registry::with_small(place)?;
    let copy = registry.reference("elsewhere/copied:v5");
    skopeo(&[
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &format!("docker://{reference}"),
        &format!("docker://{copy}"),
    ])?;
    let other = Other::new(place, "copied")?;
    let pulled = other.json(place, &["pull", &copy, "--plain-http"])?;
    check(
        pulled["tag"] == "copied-v5" && pulled["digest"] == published["digest"],
        || format!("{pulled}"),
    )?;
    let again = other.json(place, &["pull", &reference, "--plain-http", "--tag", "own"])?;
    check(again["tag"] == "own" && again["moved_bytes"] == 0, || {
        format!("{again}")
    })?;
    other.run(place, &["artifact", "verify", "own"])?;
    other.clear()
}

/// Reading and writing need the password; without it, the error says where credentials were looked for.
pub fn credentials(place: &Place) -> Outcome {
    let registry = Registry::start(place, Some(HTPASSWD))?;
    let reference = registry.reference("private/k8s");
    let publish = ["publish", PROVIDER, &reference, "--plain-http"];
    let file = |name: &str, auth: &str| {
        let path = place.dir().join("registry").join(name);
        let text = json!({"auths": {&registry.address: {"auth": auth}}}).to_string();
        write(&path, text.as_bytes()).map(|()| path)
    };
    let (good, bad) = (file("good.json", GOOD)?, file("bad.json", BAD)?);
    let absent = place.dir().join("registry/absent.json");
    let bad_text = bad.display().to_string();
    let absent_text = absent.display().to_string();
    // All layers are in this store, so only the manifest is requested, and that is rejected too.
    let pull = ["pull", &reference, "--plain-http", "--tag", "private"];
    for words in [&publish[..], &pull[..]] {
        let refused = |file: &Path, message: &[&str]| {
            place.refused_with(words, &[("REGISTRY_AUTH_FILE", file)], message)
        };
        refused(&bad, &["status 401", "the credential in", &bad_text, "was used"])?;
        refused(
            &absent,
            &["status 401", "no credential was found in", &absent_text],
        )?;
    }
    let run = |words: &[&str]| {
        let output = place.command(words).env("REGISTRY_AUTH_FILE", &good).output();
        let output = output.map_err(|error| error.to_string())?;
        check(output.status.success(), || {
            String::from_utf8_lossy(&output.stderr).into_owned()
        })
    };
    run(&publish)?;
    run(&pull)?;
    place.run(&["artifact", "remove", "private"]).map(drop)
}

/// A corrupt blob in the registry is rejected and nothing of the artifact becomes visible; once repaired, the pull
/// resumes.
pub fn corrupt(place: &Place) -> Outcome {
    let (registry, reference, published) = Registry::with_small(place)?;
    let other = Other::new(place, "spoilt")?;
    let digest = published["digest"].as_str().unwrap_or_default();
    let manifest = raw(&format!("{reference}@{digest}"))?;
    let digest = manifest["layers"][0]["digest"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let path = registry.blob(&digest);
    let pull = ["--dir", &other.text, "pull", &reference, "--plain-http"];
    let whole = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = fs::File::options().write(true).open(&path);
    let file = file.map_err(|error| error.to_string())?;
    let middle = whole.len() / 2;
    file.write_all_at(&[whole[middle] ^ 1], middle as u64)
        .map_err(|error| error.to_string())?;
    place.refused(&pull, &[&digest, "sent wrong data for layer"])?;
    file.set_len(middle as u64).map_err(|error| error.to_string())?;
    place.refused(&pull, &["has another length for layer", "publish it again"])?;
    check(other.json(place, &["artifact", "list"])? == json!([]), || {
        "half of an artifact is there".to_owned()
    })?;
    let stored = other.dir.join("store/blobs").join(digest.replace(':', "/"));
    check(!stored.exists(), || "the wrong blob is in the store".to_owned())?;
    write(&path, &whole)?;
    place.run(&pull)?;
    other.run(place, &["artifact", "verify", "small"])?;
    other.clear()
}

/// A missing artifact, an unreachable registry and a tag in use are one error each.
pub fn mistakes(place: &Place) -> Outcome {
    let (registry, reference, _) = Registry::with_artifact(place)?;
    let absent = registry.reference("clusters/absent");
    place.refused(
        &["pull", &absent, "--plain-http"],
        &["not found", "; check the reference", "clusters/absent:latest"],
    )?;
    place.refused(&["pull", &reference], &["over TLS", "--plain-http"])?;
    let digest = format!("{reference}@sha256:{}", "0".repeat(64));
    place.refused(&["publish", PROVIDER, &digest], &["give a tag instead"])?;
    place.refused(&["pull", &digest, "--plain-http"], &["not found"])?;
    // A different artifact with the same last path component.
    let other = registry.reference(&format!("others/{PROVIDER}"));
    Variant::with_other_creation_time(place)?.with_tag(place, "small", || {
        place.run(&["publish", "small", &other, "--plain-http"]).map(drop)
    })?;
    place.refused(
        &["pull", &other, "--plain-http"],
        &["is the tag of another artifact here, created here", "--tag TAG"],
    )?;
    drop(registry);
    place.refused(
        &["pull", &reference, "--plain-http"],
        &["cannot reach the registry", "Connection refused"],
    )
}

/// The report of `artifact inspect` for the baked artifact.
pub fn artifact(place: &Place) -> Result<Value, String> {
    place.json(&["artifact", "inspect", PROVIDER])
}

fn bytes(report: &Value, what: &str) -> u64 {
    report[what].as_u64().unwrap_or_default()
}

/// A manifest as it is in the registry.
pub fn raw(reference: &str) -> Result<Value, String> {
    let text = skopeo(&[
        "inspect",
        "--raw",
        "--tls-verify=false",
        &format!("docker://{reference}"),
    ])?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

pub fn skopeo(words: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("skopeo").args(words).output();
    let output = output.map_err(|error| format!("skopeo: {error}"))?;
    check(output.status.success(), || {
        String::from_utf8_lossy(&output.stderr).into_owned()
    })?;
    Ok(output.stdout)
}
