//! Loads images from files into the container runtimes of a running cluster's nodes, without a registry.
//!
//! A file is first read to detect its format and verify that it is complete and intact. Then it is streamed to the
//! runtimes of all nodes in parallel. The image names are sent last, so that a truncated stream imports nothing.

use std::path::Path;
use std::thread;

use parbake_artifact::images::{Archive, ImageName};
use parbake_cluster::ContainerRuntime;
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;
use serde::Serialize;

use crate::{Cluster, Error};

/// Waits until the runtime lists each image.
const WAIT_UNTIL_LISTED: &str = r#"
for name; do
    tries=0
    until crictl --timeout=10s inspecti --quiet "$name" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ]; then echo "the runtime does not list the image $name" >&2; exit 1; fi
        sleep 0.1
    done
done
"#;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// The images, in the order of the file.
    pub images: Vec<LoadedImage>,
    pub nodes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadedImage {
    /// The full name, such as `docker.io/library/app:v1`.
    pub name: String,
    /// Digest of the manifest, or of the image's configuration if the runtime keeps no manifests.
    pub digest: String,
}

/// Loads all images of `path` into all nodes of `cluster`. `path` is an OCI image layout (directory or archive) or the output
/// of `docker save`; archives may be compressed with gzip, xz, zstd or bzip2. `name` overrides the name of a single image.
///
/// # Errors
/// `path` has no images, or they are damaged or have no names: nothing is changed then. Or a node failed to import them.
pub fn load(cluster: &Cluster, path: &Path, name: Option<&ImageName>) -> Result<Loaded, Error> {
    load_into_machines(cluster.running(), cluster.record().cluster.runtime(), path, name)
}

/// Loads images into all of the machines. See [`load`].
pub(crate) fn load_into_machines(
    running: &Running,
    runtime: ContainerRuntime,
    path: &Path,
    name: Option<&ImageName>,
) -> Result<Loaded, Error> {
    let nodes: Vec<String> = running.machines().keys().cloned().collect();
    load_into_nodes(running, runtime, &nodes, path, name)
}

/// Loads images into the machines `nodes`. See [`load`].
pub(crate) fn load_into_nodes(
    running: &Running,
    runtime: ContainerRuntime,
    nodes: &[String],
    path: &Path,
    name: Option<&ImageName>,
) -> Result<Loaded, Error> {
    let archive = {
        let _step = tracing::debug_span!("step", what = format!("check `{}`", path.display())).entered();
        Archive::examine(path, name)?
    };
    let what = format!(
        "load {} into {}",
        counted(archive.names().len(), "image"),
        counted(nodes.len(), "node")
    );
    let _step = tracing::info_span!("step", what).entered();
    let outcomes: Vec<Result<String, Error>> = thread::scope(|scope| {
        let archive = &archive;
        let load = |node: &'_ String| {
            let node = node.clone();
            scope.spawn(move || load_into(running, runtime, &node, archive))
        };
        let loading: Vec<_> = nodes.iter().map(load).collect();
        let joined = loading.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    let mut listing = String::new();
    for outcome in outcomes {
        listing = outcome?;
    }
    let images = archive.names().iter().map(|name| LoadedImage {
        name: name.clone(),
        digest: digest_of(&listing, name).unwrap_or_default(),
    });
    Ok(Loaded {
        images: images.collect(),
        nodes: nodes.to_vec(),
    })
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn load_into(
    running: &Running,
    runtime: ContainerRuntime,
    node: &str,
    archive: &Archive,
) -> Result<String, Error> {
    let command = |words: &[&str]| -> Result<Cmd, Error> { Ok(running.command(node, words)?) };
    let failed = |source| Error::LoadImages {
        node: node.to_owned(),
        source,
    };
    let answers = runtime.profile();
    command(&["sh", "-euc", answers.import, "sh"])?
        .args(archive.names())
        .stream_input(|to| archive.write_to(to))
        .map_err(failed)?;
    let list = format!("{WAIT_UNTIL_LISTED}{}", answers.list);
    let listing = command(&["sh", "-euc", &list, "sh"])?
        .args(archive.names())
        .run()
        .map_err(failed)?;
    Ok(listing.stdout)
}

/// The third column of [`parbake_cluster::RuntimeProfile::list`].
fn digest_of(listing: &str, name: &str) -> Option<String> {
    let mut rows = listing.lines().map(str::split_whitespace);
    let mut row = rows.find(|row| row.clone().next() == Some(name))?;
    row.nth(2).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::digest_of;

    #[test]
    fn digest_is_in_the_third_column() {
        let listing = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n\
                       docker.io/library/app:v10 application/x sha256:10 2.0 MiB linux/amd64 -\n\
                       docker.io/library/app:v1  application/x sha256:1  2.0 MiB linux/amd64 -\n";
        let digest = |name| digest_of(listing, name);
        assert_eq!(digest("docker.io/library/app:v1").as_deref(), Some("sha256:1"));
        assert_eq!(digest("docker.io/library/app"), None);
    }
}
