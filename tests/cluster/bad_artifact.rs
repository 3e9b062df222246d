//! Artifacts with an invalid config are one clear error, and no cluster is created.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use parbake_test_support::place::{Outcome, PROVIDER, Place, check};

/// A change of the config, and what the error of `up` must contain.
type Case = (fn(&mut Value), &'static [&'static str]);

const CASES: [Case; 6] = [
    // As written by a later version.
    (
        |config| config["version"] = json!(2),
        &[
            "artifact format version 2 is newer than this parbake understands (1)",
            "upgrade parbake",
        ],
    ),
    (
        |config| config["surprise"] = json!(true),
        &["the artifact's config is not valid", "unknown field `surprise`"],
    ),
    (
        |config| config["machines"][0]["name"] = json!("node02"),
        &["two machines are called `node02`"],
    ),
    (
        |config| config["rootfs"]["diff_ids"] = json!([]),
        &["the artifact's config is inconsistent", "0 diff ids"],
    ),
    (
        |config| config["cluster"]["nodes"][0]["address"] = json!("10.89.0.999"),
        &[
            "the artifact's description of its cluster is invalid",
            "invalid IP address",
        ],
    ),
    (
        |config| config["cluster"]["networks"]["pods"] = json!("10.89.0.0/16"),
        &[
            "the artifact's description of its cluster is invalid",
            "10.89.0.0",
        ],
    ),
];

pub(crate) fn config(place: &Place) -> Outcome {
    let store = Layout::find(place);
    for (change, message) in CASES {
        store.with_config(
            |config| {
                let mut value: Value = serde_json::from_str(config).map_err(|error| error.to_string())?;
                change(&mut value);
                Ok(value.to_string())
            },
            || refused(place, message),
        )?;
    }
    // A config that is not JSON but has the right digest, and one with the wrong digest.
    store.with_config(
        |config| Ok(config[..config.len() / 2].to_owned()),
        || refused(place, &["the artifact's config is not valid"]),
    )?;
    let path = store.blob(&store.manifest()?["config"]["digest"]);
    let whole = fs::read(&path).map_err(|error| error.to_string())?;
    let mut corrupt = whole.clone();
    corrupt[whole.len() / 2] ^= 1;
    write(&path, &corrupt)?;
    let outcome = refused(place, &["its config is missing or corrupt", "provision"]);
    write(&path, &whole)?;
    outcome?;
    place.run(&["artifact", "verify", PROVIDER]).map(drop)
}

fn refused(place: &Place, message: &[&str]) -> Outcome {
    place.refused(&["up", PROVIDER, "--nodes", "1"], message)?;
    check(!place.dir().join("clusters/default").exists(), || {
        "a cluster was begun".to_owned()
    })
}

/// The store as files.
struct Layout(PathBuf);

impl Layout {
    fn find(place: &Place) -> Self {
        Self(place.dir().join("store"))
    }

    fn blob(&self, digest: &Value) -> PathBuf {
        let digest = digest.as_str().unwrap_or_default();
        self.0.join("blobs").join(digest.replace(':', "/"))
    }

    fn index(&self) -> Result<Value, String> {
        read(&self.0.join("index.json"))
    }

    /// The manifest of the only artifact.
    fn manifest(&self) -> Result<Value, String> {
        let index = self.index()?;
        let manifests = index["manifests"].as_array().into_iter().flatten();
        let tagged =
            manifests.filter(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].is_string());
        check(tagged.count() == 1, || {
            format!("another artifact was left behind: {index}")
        })?;
        read(&self.blob(&index["manifests"][0]["digest"]))
    }

    /// Runs `test` while the artifact has a changed config with a matching digest.
    fn with_config(
        &self,
        change: impl FnOnce(&str) -> Result<String, String>,
        test: impl FnOnce() -> Outcome,
    ) -> Outcome {
        let (mut index, mut manifest) = (self.index()?, self.manifest()?);
        let config = fs::read_to_string(self.blob(&manifest["config"]["digest"]));
        let config = change(&config.map_err(|error| error.to_string())?)?;
        manifest["config"] = self.add(&manifest["config"], &config)?;
        index["manifests"][0] = self.add(&index["manifests"][0], &manifest.to_string())?;
        let path = self.0.join("index.json");
        let before = fs::read(&path).map_err(|error| error.to_string())?;
        write(&path, index.to_string().as_bytes())?;
        let outcome = test();
        write(&path, &before)?;
        outcome
    }

    /// Writes a blob under its digest, computed by coreutils. Returns `descriptor` with that digest and size.
    fn add(&self, descriptor: &Value, text: &str) -> Result<Value, String> {
        let file = self.0.join("tmp/changed");
        write(&file, text.as_bytes())?;
        let output = Command::new("sha256sum")
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let digest = format!("sha256:{}", printed.split(' ').next().unwrap_or_default());
        let mut descriptor = descriptor.clone();
        descriptor["digest"] = json!(digest);
        descriptor["size"] = json!(text.len());
        fs::rename(&file, self.blob(&descriptor["digest"])).map_err(|error| error.to_string())?;
        Ok(descriptor)
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Outcome {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
