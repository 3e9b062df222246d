//! Credentials of the running cluster in files where nobody would look for them, such as a copy of `admin.conf`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parbake_cluster::sanitize_files::{ETCD, kubeconfigs};
use parbake_cluster::{Description, machine_plan};
use parbake_machine::fs::Dirs;
use parbake_machine::fs::files::failed;
use serde::Serialize;
use walkdir::WalkDir;

use crate::Error;
use crate::state::ClusterLock;

/// Where the components of a node keep their keys.
const KEYS: [&str; 2] = ["etc/kubernetes/pki", "var/lib/kubelet/pki"];
/// The field of a kubeconfig that holds a key.
const KEY_DATA: &str = "client-key-data:";
/// Shorter lines of a key's text are its last, and may be anything.
const SHORTEST: usize = 32;

/// A file that held a credential of the cluster and is not in the artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExcludedFile {
    /// The node.
    pub node: String,
    /// The file's path on it.
    pub path: PathBuf,
}

/// Texts that give the keys of a cluster away.
#[derive(Debug)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Collects the keys of all nodes' components from the copy in `scratch`, before they are removed there.
    pub(super) fn collect(scratch: &ClusterLock, cluster: &Description) -> Result<Self, Error> {
        let mut texts = Vec::new();
        for node in cluster.nodes() {
            let upper = Dirs(&machine_plan::machine_dir(scratch.dir(), node)).upper();
            let keys = KEYS.iter().flat_map(|dir| regular_files(&upper.join(dir)));
            for path in keys.chain(kubeconfigs(&upper)?) {
                // They are texts; what is none holds no key as text.
                let text = fs::read_to_string(&path).unwrap_or_default();
                texts.extend(needles(&text));
            }
        }
        texts.sort();
        texts.dedup();
        Ok(Self(texts))
    }

    /// Removes every file that holds one of them from the copy; the database forgets by itself.
    pub(super) fn leave_out(
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
                let database = root.join(ETCD);
                for path in regular_files(&root).filter(|path| !path.starts_with(&database)) {
                    if !holds(&search, &path).map_err(failed("read", &path))? {
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

/// The lines of each private key (RFC 7468), and each key in base64 once more, as kubeconfigs have it.
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
            } else if inside && line.len() >= SHORTEST {
                found.push(line.to_owned());
            }
        }
    }
    found
}

fn regular_files(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    // What cannot be read cannot be packed either, which will say so.
    let entries = WalkDir::new(dir).into_iter().flatten();
    entries
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
}

fn holds(search: &AhoCorasick, path: &Path) -> io::Result<bool> {
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
    fn a_key_is_known_as_a_file_and_in_a_kubeconfig() {
        let pem = format!("-----BEGIN EC PRIVATE KEY-----\n{LINE}\nAAAA\n-----END EC PRIVATE KEY-----\n");
        let found = needles(&pem);
        assert_eq!(found, [STANDARD.encode(&pem), LINE.to_owned()]);
        let kubeconfig = format!("users:\n- user:\n    client-key-data: {}\n", found[0]);
        assert!(found.iter().all(|needle| needles(&kubeconfig).contains(needle)));
        let certificate = pem.replace("EC PRIVATE KEY", "CERTIFICATE");
        assert!(needles(&certificate).is_empty());
        // A key behind its certificate, as kubelets have them.
        assert_eq!(needles(&(certificate + &pem)), [LINE]);
    }
}
