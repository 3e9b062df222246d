//! containerd.

use super::RuntimeProfile;

pub(super) const ANSWERS: RuntimeProfile = RuntimeProfile {
    program: "containerd",
    unit: "containerd.service",
    socket: "unix:///run/containerd/containerd.sock",
    dir: "var/lib/containerd",
    // Directories in it that are not numbers are none of layers.
    layers: "io.containerd.snapshotter.v1.overlayfs/snapshots",
    files: "fs",
    configuration: "/etc/containerd",
    log: "containerd.log",
    journal: &["--unit=containerd.service"],
    import: "exec ctr --namespace=k8s.io images import -",
    list: LIST,
    tree: concat!(
        include_str!("scripts/containerd-show.sh"),
        include_str!("scripts/tree.sh")
    ),
    forget_packed: Some("exec ctr --namespace=k8s.io content rm \"$1\""),
    forget_all_packed: Some(FORGET_ALL_PACKED),
    forget_pods: FORGET_PODS,
    stop_pod: "crictl --timeout=60s stopp \"$1\"",
    tells_requests: true,
};

const LIST: &str = r#"ctr --namespace=k8s.io images ls | while read -r name type digest rest; do
    echo "$name $type $digest"
done"#;

/// containerd marks with this label what it has unpacked (containerd, `labels.LabelUncompressed`). The end of a lease is
/// the one thing that it collects garbage for before it answers.
const FORGET_ALL_PACKED: &str = r#"
packed=$(ctr --namespace=k8s.io content ls | sed -n '/containerd\.io\/uncompressed/s/^[[:space:]]*\([^[:space:]]*\).*/\1/p')
if [ -n "$packed" ]; then ctr --namespace=k8s.io content rm $packed; fi
ctr --namespace=k8s.io leases create --id=parbake
ctr --namespace=k8s.io leases rm --sync parbake
"#;

/// As above.
const FORGET_PODS: &str = r#"
if [ -n "$(crictl pods -q)" ]; then crictl --timeout=60s rmp -fa; fi
ctr --namespace=k8s.io leases create --id=parbake
ctr --namespace=k8s.io leases rm --sync parbake
"#;
