//! CRI-O, which keeps images and containers with the library containers/storage, in its overlay driver.
//!
//! ```text
//! /var/lib/containers/storage/
//! |-- overlay/LAYER/diff         a layer's files; `link` and `lower` beside it say what is below it
//! |-- overlay-layers/            what layers there are
//! |-- overlay-images/            which image has which topmost layer, and what it is called
//! `-- overlay-containers/        containers; CRI-O forgets them after a restart of the node
//! ```
//!
//! Images come in by `copyimg`, a command in CRI-O's own module, with the same library.

use super::{FORGET_PODS, RuntimeProfile, STOP_POD_AND_CONTAINERS};

pub(super) const ANSWERS: RuntimeProfile = RuntimeProfile {
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
    // Layers are unpacked while they come in.
    forget_packed: None,
    forget_all_packed: None,
    forget_pods: FORGET_PODS,
    // Left to itself it waits for containers for as long as it is waited for.
    stop_pod: STOP_POD_AND_CONTAINERS,
    tells_requests: false,
};
