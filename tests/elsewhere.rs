//! State directories of their own, for what other machines would have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::harness::{Outcome, Place, check};

/// A state directory beside the one of all tests.
pub(crate) struct Other {
    pub(crate) dir: PathBuf,
    pub(crate) text: String,
}

impl Other {
    pub(crate) fn new(place: &Place, name: &str) -> Result<Self, String> {
        let dir = place.dir().join("others").join(name);
        let text = dir.to_str().ok_or("a path that is no text")?.to_owned();
        Ok(Self { dir, text })
    }

    pub(crate) fn run(&self, place: &Place, words: &[&str]) -> Result<String, String> {
        place.run(&[&["--dir", &self.text], words].concat())
    }

    pub(crate) fn json(&self, place: &Place, words: &[&str]) -> Result<Value, String> {
        place.json(&[&["--dir", &self.text], words].concat())
    }

    pub(crate) fn spawn(&self, place: &Place, words: &[&str]) -> Result<Child, String> {
        place.spawn(&[&["--dir", &self.text], words].concat())
    }

    /// Starts a cluster by its reference, while nobody answers there.
    pub(crate) fn starts(&self, place: &Place, reference: &str, digest: &Value) -> Outcome {
        let report = self.json(place, &["up", reference, "--nodes", "1"])?;
        check(report["digest"] == *digest && report["artifact"] == "k8s", || {
            format!("{report}")
        })?;
        let path = self.dir.join("clusters/default/cluster.json");
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let record: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        check(record["artifact"] == *digest, || format!("{record}"))
    }

    /// Bytes that came of blobs: in part, and of whole ones.
    pub(crate) fn arrived(&self) -> Result<(u64, u64), String> {
        let sum = |dir: &str, is_it: fn(&str) -> bool| {
            let entries = fs::read_dir(self.dir.join("store").join(dir));
            let names = entries.into_iter().flatten().flatten();
            names
                .filter(|entry| entry.file_name().to_str().is_some_and(is_it))
                .filter_map(|entry| Some(entry.metadata().ok()?.len()))
                .sum::<u64>()
        };
        let parts = sum("tmp", |name| name.ends_with(".part"));
        Ok((parts, sum("blobs/sha256", |_| true)))
    }

    /// Makes the artifact another one: the same layers, frozen at another time.
    pub(crate) fn changed(&self, place: &Place) -> Outcome {
        let store = self.dir.join("store");
        let read = |path: &Path| -> Result<Value, String> {
            let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            serde_json::from_slice(&text).map_err(|error| error.to_string())
        };
        let blob = |digest: &Value| {
            let digest = digest.as_str().unwrap_or_default();
            store.join("blobs").join(digest.replace(':', "/"))
        };
        let add = |descriptor: &mut Value, value: &Value| -> Outcome {
            let (file, text) = (store.join("tmp/changed"), value.to_string());
            write(&file, text.as_bytes())?;
            let output = Command::new("sha256sum").arg(&file).output();
            let output = output.map_err(|error| error.to_string())?;
            let printed = String::from_utf8_lossy(&output.stdout);
            let hex = printed.split(' ').next().unwrap_or_default();
            descriptor["digest"] = json!(format!("sha256:{hex}"));
            descriptor["size"] = json!(text.len());
            fs::rename(&file, blob(&descriptor["digest"])).map_err(|error| error.to_string())
        };
        let mut index = read(&store.join("index.json"))?;
        let mut manifest = read(&blob(&index["manifests"][0]["digest"]))?;
        let mut config = read(&blob(&manifest["config"]["digest"]))?;
        config["created"] = json!("2001-01-01T00:00:00Z");
        add(&mut manifest["config"], &config)?;
        add(&mut index["manifests"][0], &manifest)?;
        write(&store.join("index.json"), index.to_string().as_bytes())?;
        self.run(place, &["artifact", "verify", "k8s"]).map(drop)
    }

    pub(crate) fn clear(&self) -> Outcome {
        fs::remove_dir_all(&self.dir).map_err(|error| format!("{}: {error}", self.text))
    }
}

/// Writes a file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Outcome {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
