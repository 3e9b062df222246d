//! What differs between container runtimes.

/// What differs between container runtimes. Paths are absolute except [`RuntimeProfile::dir`]; scripts are for `sh -eu`.
#[derive(Debug, PartialEq, Eq)]
pub struct RuntimeProfile {
    /// The program that the kubelet talks to, which `parbake swap` can replace.
    pub program: &'static str,
    /// Its systemd unit.
    pub unit: &'static str,
    /// The URL of its CRI socket.
    pub socket: &'static str,
    /// Its state directory, below the node's root. Containers' overlays are in it, so it cannot itself be on an overlay.
    pub dir: &'static str,
    /// The directory, below [`RuntimeProfile::dir`], with one directory for each image layer.
    pub layers: &'static str,
    /// The directory of the layer's files, below that of the layer.
    pub files: &'static str,
    /// Its configuration directory, which users must not mount over.
    pub configuration: &'static str,
    /// The name of its log file in an export.
    pub log: &'static str,
    /// The options of journalctl that select its log.
    pub journal: &'static [&'static str],
    /// Imports an image archive from standard input. Arguments: the names of the images in it, as
    /// `NAME[:TAG][@DIGEST]`. All of them can be used in pods afterwards.
    pub import: &'static str,
    /// Prints a line for each image: its name, any word, and its digest, which is that of the manifest if the runtime keeps
    /// manifests. Arguments: the names of the images of interest.
    pub list: &'static str,
    /// Writes the files of an image, as containers see them, to standard output as a tar stream. Arguments: a scratch
    /// directory, which is created if missing, and the image's name.
    pub tree: &'static str,
    /// Removes the compressed blob of an unpacked layer. Argument: its digest. `None` if the runtime keeps no blobs.
    pub remove_blob: Option<&'static str>,
    /// Removes the compressed blobs of all unpacked layers.
    pub remove_all_blobs: Option<&'static str>,
    /// Removes all pods and containers, as a restart of the node does, and what only they used.
    pub remove_pods: &'static str,
    /// Stops the pod `$1` without a grace period.
    pub stop_pod: &'static str,
    /// True if the runtime reports the request that a container was started with (`info.config` of `crictl inspect`).
    pub reports_requests: bool,
}

/// Removes all pods through CRI.
pub(super) const REMOVE_PODS: &str =
    r#"if [ -n "$(crictl pods -q)" ]; then crictl --timeout=60s rmp -fa; fi"#;
/// Kills the containers of a pod, then stops the pod.
pub(super) const STOP_POD_AND_CONTAINERS: &str = r#"
for container in $(crictl ps -q --pod "$1"); do crictl --timeout=60s stop --timeout=0 "$container"; done
crictl --timeout=60s stopp "$1""#;
