//! Images from files into the runtimes of a running cluster's nodes, without a registry.
//!
//! A file is read twice: once to find out what it is and that nothing of it is missing or spoilt, before anything is
//! changed, and once for each node, side by side, into the import of the runtime inside the machine. What names the images goes
//! last, so that a stream that is cut off imports nothing.

use std::path::Path;
use std::thread;

use parbake_artifact::images::{Archive, ImageName};
use parbake_cluster::ContainerRuntime;
use parbake_machine::handle::Running;
use parbake_machine::process::Cmd;
use serde::Serialize;

use crate::{Cluster, Error};

/// Waits until the runtime offers each image to kubelets.
const OFFERED: &str = r#"
for name; do
    tries=0
    until crictl --timeout=10s inspecti --quiet "$name" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ]; then echo "the runtime does not show the image $name" >&2; exit 1; fi
        sleep 0.1
    done
done
"#;

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// The images, as the file has them in order.
    pub images: Vec<LoadedImage>,
    /// The nodes that have them now.
    pub nodes: Vec<String>,
}

/// An image that pods can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadedImage {
    /// Its full name, as `docker.io/library/app:v1`.
    pub name: String,
    /// Digest of its manifest, or of its configuration where the runtime keeps no manifests.
    pub digest: String,
}

/// Loads all images of `path` into all nodes of `cluster`: an OCI image layout as a directory or an archive, or what
/// `docker save` writes, as it is or compressed with gzip, xz or zstd. `name` is for a single image, in the place of the name
/// it has.
///
/// # Errors
/// `path` holds no images, or damaged ones, or images without names: nothing is changed then. Or a node refuses them.
pub fn load(cluster: &Cluster, path: &Path, name: Option<&ImageName>) -> Result<Loaded, Error> {
    load_into_machines(cluster.running(), cluster.record().cluster.runtime(), path, name)
}

/// The same for machines that are not a cluster's yet.
pub(crate) fn load_into_machines(
    running: &Running,
    runtime: ContainerRuntime,
    path: &Path,
    name: Option<&ImageName>,
) -> Result<Loaded, Error> {
    let nodes: Vec<String> = running.machines().keys().cloned().collect();
    load_into_nodes(running, runtime, &nodes, path, name)
}

/// The same for some of the machines.
pub(crate) fn load_into_nodes(
    running: &Running,
    runtime: ContainerRuntime,
    nodes: &[String],
    path: &Path,
    name: Option<&ImageName>,
) -> Result<Loaded, Error> {
    let archive = {
        let _step = tracing::info_span!("step", what = format!("check `{}`", path.display())).entered();
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
    let refused = |source| Error::LoadImages {
        node: node.to_owned(),
        source,
    };
    let answers = runtime.answers();
    command(&["sh", "-euc", answers.import, "sh"])?
        .args(archive.names())
        .feed(|to| archive.write_to(to))
        .map_err(refused)?;
    let list = format!("{OFFERED}{}", answers.list);
    let listing = command(&["sh", "-euc", &list, "sh"])?
        .args(archive.names())
        .run()
        .map_err(refused)?;
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
    fn a_digest_is_in_the_third_column() {
        let listing = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n\
                       docker.io/library/app:v10 application/x sha256:10 2.0 MiB linux/amd64 -\n\
                       docker.io/library/app:v1  application/x sha256:1  2.0 MiB linux/amd64 -\n";
        let digest = |name| digest_of(listing, name);
        assert_eq!(digest("docker.io/library/app:v1").as_deref(), Some("sha256:1"));
        assert_eq!(digest("docker.io/library/app"), None);
    }
}
