//! Merges a cluster into a user's kubeconfig, and removes it when the cluster is removed.
//!
//! ```text
//! DIR/clusters/NAME/merged.json    the kubeconfigs that the cluster was merged into, recorded before they are changed
//! ```

mod document;
mod file;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parbake_machine::fs::files::{failed, replace};
use serde::{Deserialize, Serialize};

pub use crate::error::KubeconfigError;
use crate::state::{ClusterLock, admin_kubeconfig, restore_kubeconfig};
use crate::{ClusterName, Error};
use document::{Document, Entry};
pub use file::SudoUser;

/// Version of `merged.json`.
const VERSION: u32 = 1;
const FILE: &str = "merged.json";

/// `merged.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MergeRecord {
    version: u32,
    /// Absolute paths.
    files: Vec<PathBuf>,
}

/// The result of [`merge`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Merged {
    pub file: PathBuf,
    pub context: String,
    /// True if the context is the current one.
    pub current: bool,
}

/// The name of the cluster, user and context of `name` in a user's kubeconfig.
pub fn context(name: &ClusterName) -> String {
    format!("parbake-{name}")
}

/// The file that kubectl would change (Kubernetes documentation, 'Organizing Cluster Access Using kubeconfig Files'): the
/// first existing file in `$KUBECONFIG`, otherwise its last one; without `$KUBECONFIG`, `~/.kube/config`.
///
/// # Errors
/// Neither variable is set.
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

/// Merges the cluster `name` into the kubeconfig `file`, which is created if missing. Entries with the cluster's names are
/// replaced; all others are kept, but no comments. [`crate::down`] removes the entries again.
///
/// # Errors
/// There is no such cluster, another command works on it, or `file` is not a kubeconfig, does not belong to the user `owner`,
/// is locked, or cannot be written. The file is unchanged then.
pub fn merge(state: &Path, name: &ClusterName, file: &Path, owner: Option<u32>) -> Result<Merged, Error> {
    let (lock, _) = ClusterLock::existing(state, name)?;
    let entry = cluster_entry(lock.dir())?;
    let sudo = SudoUser::from_env();
    let file = file::resolve(file, sudo)?;
    if let Some(owner) = owner {
        file::check_owner(&file, owner)?;
    }
    let mut record = load(lock.dir())?;
    let known = record.files.contains(&file);
    if !known {
        // Recorded first: if this command is killed, `down` finds nothing to remove, which does no harm.
        record.files.push(file.clone());
        save(lock.dir(), &record)?;
    }
    let context = context(name);
    let edited = file::edit(&file, sudo, |document| {
        document.put(&context, &entry)?;
        Ok(document.is_current(&context))
    });
    if edited.is_err() && !known {
        record.files.retain(|other| *other != file);
        save(lock.dir(), &record)?;
    }
    let current = edited?;
    Ok(Merged {
        file,
        context,
        current,
    })
}

/// Writes a kubeconfig to the file `path`, readable by its owner only.
///
/// # Errors
/// The file could not be written.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    Ok(file::write_new(path, content, SudoUser::from_env()).map_err(failed("write", path))?)
}

/// Removes the cluster in `dir` from the kubeconfigs that it was merged into. Failures are warnings that name the file and
/// what remains in it.
pub(crate) fn remove_context(dir: &Path, name: &ClusterName) {
    let remains = |context: &str, file: &Path| {
        let file = file.display();
        format!(
            "the context `{context}` remains in `{file}`; remove it with `kubectl config --kubeconfig {file} \
             delete-context {context}`, likewise `delete-cluster` and `delete-user`"
        )
    };
    // The entries may belong to another cluster by now, which `remove` checks.
    edit_merged(dir, name, remains, |document, context, entry| {
        document.remove(context, entry)
    });
}

/// Updates the cluster in `dir` in the kubeconfig for users and in those that it was merged into, for instance after its
/// port changed. Failures are warnings.
pub(crate) fn update_contexts(dir: &Path, name: &ClusterName) {
    let set_server = || -> Result<(), Error> {
        let entry = cluster_entry(dir)?;
        if let Some(path) = restore_kubeconfig(dir)? {
            file::edit(&path, None, |document| {
                document.set_server(&entry);
                Ok(())
            })?;
        }
        Ok(())
    };
    if let Err(error) = set_server() {
        tracing::warn!(
            "the kubeconfig of cluster `{name}` is outdated: {}",
            with_causes(&error)
        );
    }
    let outdated = |context: &str, file: &Path| {
        let file = file.display();
        format!(
            "the context `{context}` in `{file}` is outdated; update it with `parbake --name {name} kubeconfig --merge {file}`"
        )
    };
    edit_merged(dir, name, outdated, |document, context, entry| {
        match document.has(context, entry) {
            true => document.put(context, entry),
            false => Ok(()),
        }
    });
}

/// Applies `edit` to all kubeconfigs that the cluster in `dir` was merged into. `consequence` describes a failure.
fn edit_merged(
    dir: &Path,
    name: &ClusterName,
    consequence: impl Fn(&str, &Path) -> String,
    edit: impl Fn(&mut Document, &str, &Entry) -> Result<(), String>,
) {
    let context = context(name);
    let record = load(dir).unwrap_or_else(|error| {
        tracing::warn!(
            "could not update the kubeconfigs of cluster `{name}`: {}",
            with_causes(&error)
        );
        MergeRecord::default()
    });
    for file in record.files.iter().filter(|file| file.exists()) {
        let edited = cluster_entry(dir).and_then(|entry| {
            let edit = |document: &mut Document| edit(document, &context, &entry);
            Ok(file::edit(file, SudoUser::from_env(), edit)?)
        });
        if let Err(error) = edited {
            tracing::warn!("{}: {}", consequence(&context, file), with_causes(&error));
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The entry of the cluster in `dir`, from parbake's own copy of its kubeconfig.
fn cluster_entry(dir: &Path) -> Result<Entry, Error> {
    let path = admin_kubeconfig(dir);
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    Ok(Entry::parse(&text).map_err(KubeconfigError::invalid(&path))?)
}

impl Default for MergeRecord {
    fn default() -> Self {
        Self {
            version: VERSION,
            files: Vec::new(),
        }
    }
}

fn load(dir: &Path) -> Result<MergeRecord, Error> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(MergeRecord::default()),
        text => text.map_err(failed("read", &path))?,
    };
    match serde_json::from_str::<MergeRecord>(&text) {
        Ok(record) if record.version == VERSION => Ok(record),
        Ok(MergeRecord { version: found, .. }) => Err(Error::Version { path, found }),
        Err(source) => Err(Error::Record { path, source }),
    }
}

fn save(dir: &Path, record: &MergeRecord) -> Result<(), Error> {
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
    fn default_path_is_the_file_that_kubectl_would_change() {
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
