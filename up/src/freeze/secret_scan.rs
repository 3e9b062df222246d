//! Credentials of the cluster in users' files, such as a copy of `admin.conf` in `/root`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parbake_cluster::Description;
use parbake_cluster::model::machine_plan;
use parbake_cluster::sanitize::node_files::{ETCD_DIR, kubeconfigs};
use parbake_machine::fs::Dirs;
use parbake_machine::fs::files::failed;
use serde::Serialize;
use walkdir::WalkDir;

use crate::error::Error;
use crate::state::ClusterLock;

/// Directories with the keys of a node's components.
const KEY_DIRS: [&str; 2] = ["etc/kubernetes/pki", "var/lib/kubelet/pki"];
/// The field of a kubeconfig that contains a key.
const KEY_DATA: &str = "client-key-data:";
/// Shorter lines are the last of a key, and too short to identify it.
const MIN_LENGTH: usize = 32;

/// A file that is not in the artifact because it contained a credential of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExcludedFile {
    pub node: String,
    /// Its path on the node.
    pub path: PathBuf,
}

/// Strings that identify the keys of a cluster.
#[derive(Debug)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Reads the keys of all nodes' components from the copy in `scratch`. They must not have been removed yet.
    pub(super) fn collect(scratch: &ClusterLock, cluster: &Description) -> Result<Self, Error> {
        let mut strings = Vec::new();
        for node in cluster.nodes() {
            let upper = Dirs(&machine_plan::machine_dir(scratch.dir(), node)).upper();
            let keys = KEY_DIRS.iter().flat_map(|dir| regular_files(&upper.join(dir)));
            for path in keys.chain(kubeconfigs(&upper)?) {
                // Keys are text, so other files contain none.
                let text = fs::read_to_string(&path).unwrap_or_default();
                strings.extend(needles(&text));
            }
        }
        strings.sort();
        strings.dedup();
        Ok(Self(strings))
    }

    /// Removes every file from the copy that contains one of them. The database is purged by other means.
    pub(super) fn remove_files(
        &self,
        scratch: &ClusterLock,
        cluster: &Description,
    ) -> Result<Vec<ExcludedFile>, Error> {
        let search = AhoCorasick::new(&self.0).map_err(|error| {
            let error = io::Error::other(error);
            failed("search", scratch.dir())(error)
        })?;
        let mut found = Vec::new();
        for node in cluster.nodes() {
            let dir = machine_plan::machine_dir(scratch.dir(), node);
            let dirs = Dirs(&dir);
            for root in [dirs.upper(), dirs.plain(Path::new(""))] {
                let database = root.join(ETCD_DIR);
                for path in regular_files(&root).filter(|path| !path.starts_with(&database)) {
                    if !contains(&search, &path).map_err(failed("read", &path))? {
                        continue;
                    }
                    fs::remove_file(&path).map_err(failed("remove", &path))?;
                    let below = path.strip_prefix(&root).unwrap_or(&path);
                    found.push(ExcludedFile {
                        node: node.name.to_string(),
                        path: Path::new("/").join(below),
                    });
                }
            }
        }
        Ok(found)
    }
}

/// The lines of each private key (RFC 7468) in `text`, and the base64 encoding of each whole key, as kubeconfigs have it.
fn needles(text: &str) -> Vec<String> {
    let encoded = text.lines().filter_map(|line| line.trim().strip_prefix(KEY_DATA));
    let encoded: Vec<String> = encoded.map(|data| data.trim().to_owned()).collect();
    let decoded = encoded.iter().filter_map(|data| STANDARD.decode(data).ok());
    let mut texts: Vec<String> = decoded.filter_map(|key| String::from_utf8(key).ok()).collect();
    texts.push(text.to_owned());
    let mut found = encoded;
    for text in texts {
        let mut inside = false;
        for line in text.lines() {
            if line.starts_with("-----") {
                inside = line.contains("BEGIN") && line.contains("PRIVATE KEY");
                if inside && text.starts_with(line) {
                    found.push(STANDARD.encode(&text));
                }
            } else if inside && line.len() >= MIN_LENGTH {
                found.push(line.to_owned());
            }
        }
    }
    found
}

fn regular_files(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    // Unreadable entries are reported when the layer is packed.
    let entries = WalkDir::new(dir).into_iter().flatten();
    entries
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
}

fn contains(search: &AhoCorasick, path: &Path) -> io::Result<bool> {
    match search.stream_find_iter(File::open(path)?).next() {
        Some(Ok(_)) => Ok(true),
        Some(Err(error)) => Err(error),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::needles;

    const LINE: &str = "MHcCAQEEIDd1bW15IGtleSBvZiBhIHRlc3QgdGhhdCBvcGVucyBub3RoaW5nIGF0";

    #[test]
    fn key_is_found_as_pem_and_in_a_kubeconfig() {
        let pem = format!("-----BEGIN EC PRIVATE KEY-----\n{LINE}\nAAAA\n-----END EC PRIVATE KEY-----\n");
        let found = needles(&pem);
        assert_eq!(found, [STANDARD.encode(&pem), LINE.to_owned()]);
        let kubeconfig = format!("users:\n- user:\n    client-key-data: {}\n", found[0]);
        assert!(found.iter().all(|needle| needles(&kubeconfig).contains(needle)));
        let certificate = pem.replace("EC PRIVATE KEY", "CERTIFICATE");
        assert!(needles(&certificate).is_empty());
        // The kubelet has its certificate and key in one file.
        assert_eq!(needles(&(certificate + &pem)), [LINE]);
    }
}
