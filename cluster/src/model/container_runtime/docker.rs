//! Docker's engine with its storage driver overlay2, behind cri-dockerd, which implements CRI for it.
//!
//! ```text
//! /var/lib/docker/
//! |-- overlay2/LAYER/diff        a layer's files; `link` and `lower` beside it name the layers below
//! |-- image/overlay2/layerdb/    the directory of each layer
//! |-- image/overlay2/imagedb/    configurations and names of images
//! `-- containers/                containers; still there, stopped, after a restart of the node
//! ```

use super::profile::{REMOVE_PODS, RuntimeProfile, STOP_POD_AND_CONTAINERS};

pub(super) const PROFILE: RuntimeProfile = RuntimeProfile {
    program: "cri-dockerd",
    unit: "cri-docker.service",
    socket: "unix:///run/cri-dockerd.sock",
    dir: "var/lib/docker",
    layers: "overlay2",
    files: "diff",
    configuration: "/etc/docker",
    log: "docker.log",
    journal: &["--unit=docker.service", "--unit=cri-docker.service"],
    import: include_str!("scripts/docker-import.sh"),
    list: include_str!("scripts/docker-list.sh"),
    tree: concat!(
        include_str!("scripts/layers.sh"),
        include_str!("scripts/docker-show.sh"),
        include_str!("scripts/tree.sh")
    ),
    // Layers are unpacked while they are imported; no blobs are kept.
    remove_blob: None,
    remove_all_blobs: None,
    remove_pods: REMOVE_PODS,
    stop_pod: STOP_POD_AND_CONTAINERS,
    reports_requests: false,
};
