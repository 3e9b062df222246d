//! CRI-O, which stores images and containers with the overlay driver of the library containers/storage.
//!
//! ```text
//! /var/lib/containers/storage/
//! |-- overlay/LAYER/diff         a layer's files; `link` and `lower` beside it name the layers below
//! |-- overlay-layers/            the list of layers
//! |-- overlay-images/            the topmost layer and the names of each image
//! `-- overlay-containers/        containers; forgotten after a restart of the node
//! ```
//!
//! Images are imported with `copyimg`, a command in CRI-O's own module that uses the same library.

use super::profile::{REMOVE_PODS, RuntimeProfile, STOP_POD_AND_CONTAINERS};

pub(super) const PROFILE: RuntimeProfile = RuntimeProfile {
    program: "crio",
    unit: "crio.service",
    socket: "unix:///run/crio/crio.sock",
    dir: "var/lib/containers/storage",
    layers: "overlay",
    files: "diff",
    configuration: "/etc/crio",
    log: "crio.log",
    journal: &["--unit=crio.service"],
    import: include_str!("scripts/cri-o-import.sh"),
    list: include_str!("scripts/cri-o-list.sh"),
    tree: concat!(
        include_str!("scripts/layers.sh"),
        include_str!("scripts/cri-o-show.sh"),
        include_str!("scripts/tree.sh")
    ),
    // Layers are unpacked while they are imported; no blobs are kept.
    remove_blob: None,
    remove_all_blobs: None,
    remove_pods: REMOVE_PODS,
    // On its own, stopping a pod waits for its containers without limit.
    stop_pod: STOP_POD_AND_CONTAINERS,
    reports_requests: false,
};
