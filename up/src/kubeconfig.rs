//! A cluster in a user's own kubeconfig: put in beside what is there, and taken out again when the cluster goes.
//!
//! ```text
//! DIR/clusters/NAME/merged.json    into which files the cluster was put; written before they are
//! ```

mod document;
mod file;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use crate::error::KubeconfigError;

use parbake_machine::files::{failed, replace};

use crate::state::{ClusterLock, cluster_dir, kubeconfig, read};
use crate::{ClusterName, Error};
use document::{Document, Entry};

/// Version of `merged.json`.
const VERSION: u32 = 1;
const FILE: &str = "merged.json";

/// `merged.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    /// Absolute paths.
    files: Vec<PathBuf>,
}

/// A cluster that is in a user's kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// The file.
    pub file: PathBuf,
    /// What clients call the cluster there.
    pub context: String,
    /// Whether clients use it when nothing is said.
    pub current: bool,
}

/// What the cluster `name` is called in a user's kubeconfig: its context, its cluster and its user.
pub fn context(name: &ClusterName) -> String {
    format!("parbake-{name}")
}

/// The file that clients of the user's use (Kubernetes documentation, 'Organizing Cluster Access Using kubeconfig Files'):
/// of those in `$KUBECONFIG` the first that exists, or else the last; or `~/.kube/config`.
///
/// # Errors
/// There is neither a `$KUBECONFIG` nor a home.
pub fn default_path(variable: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, KubeconfigError> {
    let listed: Vec<PathBuf> = variable.iter().flat_map(std::env::split_paths).collect();
    let mut named = listed.iter().filter(|path| !path.as_os_str().is_empty());
    let existing = named.clone().find(|path| path.exists());
    if let Some(path) = existing.or(named.next_back()) {
        return Ok(path.clone());
    }
    let home = home.filter(|home| !home.is_empty());
    home.map(|home| Path::new(&home).join(".kube/config"))
        .ok_or(KubeconfigError::NoHome)
}

/// Puts the cluster `name` into the kubeconfig `file`, which is made where it is missing, in the place of what has its
/// names there. All else stays, though not its comments. [`crate::down`] takes it out again.
///
/// # Errors
/// There is no such cluster, another command works on it, or `file` is no kubeconfig, is locked, or cannot be written.
/// The file is as it was then.
pub fn merge(state: &Path, name: &ClusterName, file: &Path) -> Result<Merged, Error> {
    let claim = claim(state, name)?;
    let own =
        fs::read_to_string(kubeconfig(claim.dir())).map_err(failed("read", &kubeconfig(claim.dir())))?;
    let entry = Entry::of(&own).map_err(KubeconfigError::of(&kubeconfig(claim.dir())))?;
    let file = file::real(file)?;
    let mut record = load(claim.dir())?;
    let known = record.files.contains(&file);
    if !known {
        // Whoever is killed in between leaves a note of what is not there, which does no harm.
        record.files.push(file.clone());
        save(claim.dir(), &record)?;
    }
    let context = context(name);
    let edited = file::edit(&file, |document| {
        document.put(&context, &entry)?;
        Ok(document.is_current(&context))
    });
    if edited.is_err() && !known {
        record.files.retain(|other| *other != file);
        save(claim.dir(), &record)?;
    }
    let current = edited?;
    Ok(Merged {
        file,
        context,
        current,
    })
}

/// Takes the cluster in `dir` out of the files that it was put into. What cannot be done is warned of: the cluster goes
/// all the same.
pub(crate) fn remove_context(dir: &Path, name: &ClusterName) {
    // Another cluster of this name may have taken its place.
    change_all(dir, name, |document, context, entry| {
        document.take(context, entry)
    });
}

/// Writes the cluster in `dir` anew into the files that it was put into: after a stop it may have another port. What
/// cannot be done is warned of.
pub(crate) fn update_contexts(dir: &Path, name: &ClusterName) {
    change_all(dir, name, |document, context, entry| {
        match document.has(context, entry) {
            true => document.put(context, entry),
            false => Ok(()),
        }
    });
}

fn change_all(
    dir: &Path,
    name: &ClusterName,
    change: impl Fn(&mut Document, &str, &Entry) -> Result<(), String>,
) {
    let context = context(name);
    let outcome = load(dir).and_then(|record| {
        if record.files.is_empty() {
            return Ok(());
        }
        let path = kubeconfig(dir);
        let own = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let entry = Entry::of(&own).map_err(KubeconfigError::of(&path))?;
        for file in record.files.iter().filter(|file| file.exists()) {
            if let Err(error) = file::edit(file, |document| change(document, &context, &entry)) {
                warn(&context, &error);
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        warn(&context, &error);
    }
}

fn warn(context: &str, error: &dyn std::error::Error) {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    tracing::warn!("the context `{context}` in a kubeconfig stays as it is: {text}");
}

fn claim(state: &Path, name: &ClusterName) -> Result<ClusterLock, Error> {
    let missing = || Error::NotFound { name: name.clone() };
    let dir = cluster_dir(state, name);
    if !dir.exists() {
        return Err(missing());
    }
    let claim = ClusterLock::acquire(state, name)?;
    match read(&dir)? {
        Some(_) => Ok(claim),
        None => {
            // It went while we came.
            claim.remove()?;
            Err(missing())
        }
    }
}

fn load(dir: &Path) -> Result<Record, Error> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Record {
                version: VERSION,
                files: Vec::new(),
            });
        }
        text => text.map_err(failed("read", &path))?,
    };
    match serde_json::from_str::<Record>(&text) {
        Ok(record) if record.version == VERSION => Ok(record),
        Ok(Record { version: found, .. }) => Err(Error::Version { path, found }),
        Err(source) => Err(Error::Record { path, source }),
    }
}

fn save(dir: &Path, record: &Record) -> Result<(), Error> {
    let path = dir.join(FILE);
    let text = serde_json::to_string_pretty(record).unwrap_or_default();
    Ok(replace(&path, text.as_bytes(), 0o600).map_err(failed("write", &path))?)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::path::PathBuf;

    use super::default_path;

    #[test]
    fn the_users_file_is_the_one_that_clients_use() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let both = std::env::join_paths([PathBuf::new(), one.clone(), two.clone()]).unwrap();
        let home = Some(OsString::from("/home/x"));
        assert_eq!(default_path(Some(both.clone()), home.clone()).unwrap(), two);
        fs::write(&one, "").unwrap();
        assert_eq!(default_path(Some(both), home.clone()).unwrap(), one);
        for unset in [None, Some(OsString::new())] {
            assert_eq!(
                default_path(unset, home.clone()).unwrap(),
                PathBuf::from("/home/x/.kube/config")
            );
        }
        assert!(default_path(None, Some(OsString::new())).is_err());
    }
}
