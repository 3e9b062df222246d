//! containerd.

use super::profile::RuntimeProfile;

pub(super) const PROFILE: RuntimeProfile = RuntimeProfile {
    program: "containerd",
    unit: "containerd.service",
    socket: "unix:///run/containerd/containerd.sock",
    dir: "var/lib/containerd",
    // Only the directories in it that are numbers are layers.
    layers: "io.containerd.snapshotter.v1.overlayfs/snapshots",
    files: "fs",
    configuration: "/etc/containerd",
    log: "containerd.log",
    journal: &["--unit=containerd.service"],
    import: include_str!("scripts/containerd-import.sh"),
    list: LIST,
    tree: concat!(
        include_str!("scripts/containerd-show.sh"),
        include_str!("scripts/tree.sh")
    ),
    remove_blob: Some("exec ctr --namespace=k8s.io content rm \"$1\""),
    remove_all_blobs: Some(REMOVE_ALL_BLOBS),
    remove_pods: REMOVE_PODS,
    stop_pod: "crictl --timeout=60s stopp \"$1\"",
    reports_requests: true,
};

const LIST: &str = r#"ctr --namespace=k8s.io images ls | while read -r name type digest rest; do
    echo "$name $type $digest"
done"#;

/// containerd labels blobs that it has unpacked (containerd, `labels.LabelUncompressed`). Removing a lease with `--sync` is
/// the only way to wait for garbage collection.
const REMOVE_ALL_BLOBS: &str = r#"
packed=$(ctr --namespace=k8s.io content ls | sed -n '/containerd\.io\/uncompressed/s/^[[:space:]]*\([^[:space:]]*\).*/\1/p')
if [ -n "$packed" ]; then ctr --namespace=k8s.io content rm $packed; fi
ctr --namespace=k8s.io leases create --id=parbake
ctr --namespace=k8s.io leases rm --sync parbake
"#;

/// Waits for garbage collection like [`REMOVE_ALL_BLOBS`].
const REMOVE_PODS: &str = r#"
if [ -n "$(crictl pods -q)" ]; then crictl --timeout=60s rmp -fa; fi
ctr --namespace=k8s.io leases create --id=parbake
ctr --namespace=k8s.io leases rm --sync parbake
"#;
