//! Docker's engine with its own storage driver overlay2, behind cri-dockerd, which speaks for it to kubelets (CRI).
//!
//! ```text
//! /var/lib/docker/
//! |-- overlay2/LAYER/diff        a layer's files; `link` and `lower` beside it say what is below it
//! |-- image/overlay2/layerdb/    which directory has which layer
//! |-- image/overlay2/imagedb/    configurations of images, and what images are called
//! `-- containers/                containers; they are there after a restart of the node, ended
//! ```

use super::{FORGET_PODS, RuntimeProfile, STOP_POD_AND_CONTAINERS};

pub(super) const ANSWERS: RuntimeProfile = RuntimeProfile {
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
    // Layers are unpacked while they come in.
    forget_packed: None,
    forget_all_packed: None,
    forget_pods: FORGET_PODS,
    stop_pod: STOP_POD_AND_CONTAINERS,
    tells_requests: false,
};
