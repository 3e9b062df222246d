//! Further state directories, in place of other machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use serde_json::Value;

use crate::place::{Outcome, Place, check};

/// A state directory below the one that all tests share.
pub struct Other {
    pub dir: PathBuf,
    pub text: String,
}

impl Other {
    pub fn new(place: &Place, name: &str) -> Result<Self, String> {
        let dir = place.dir().join("others").join(name);
        let text = dir.to_str().ok_or("a path that is no text")?.to_owned();
        Ok(Self { dir, text })
    }

    pub fn run(&self, place: &Place, words: &[&str]) -> Result<String, String> {
        place.run(&[&["--dir", &self.text], words].concat())
    }

    pub fn json(&self, place: &Place, words: &[&str]) -> Result<Value, String> {
        place.json(&[&["--dir", &self.text], words].concat())
    }

    pub fn spawn(&self, place: &Place, words: &[&str]) -> Result<Child, String> {
        place.spawn(&[&["--dir", &self.text], words].concat())
    }

    /// Starts a cluster by its reference while the registry is down.
    pub fn starts(&self, place: &Place, reference: &str, digest: &Value) -> Outcome {
        let report = self.json(place, &["up", reference, "--nodes", "1"])?;
        check(report["digest"] == *digest && report["artifact"] == "k8s", || {
            format!("{report}")
        })?;
        let path = self.dir.join("clusters/default/cluster.json");
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let record: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        check(record["artifact"] == *digest, || format!("{record}"))
    }

    /// Bytes of blobs in the store: of incomplete ones, and of complete ones.
    pub fn arrived(&self) -> Result<(u64, u64), String> {
        let sum = |dir: &str, is_it: fn(&str) -> bool| {
            let entries = fs::read_dir(self.dir.join("store").join(dir));
            let node_names = entries.into_iter().flatten().flatten();
            node_names
                .filter(|entry| entry.file_name().to_str().is_some_and(is_it))
                .filter_map(|entry| Some(entry.metadata().ok()?.len()))
                .sum::<u64>()
        };
        let parts = sum("tmp", |name| name.ends_with(".part"));
        Ok((parts, sum("blobs/sha256", |_| true)))
    }

    pub fn clear(&self) -> Outcome {
        fs::remove_dir_all(&self.dir).map_err(|error| format!("{}: {error}", self.text))
    }
}

/// Writes a file, with its path in the error.
pub fn write(path: &Path, bytes: &[u8]) -> Outcome {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
