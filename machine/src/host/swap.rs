//! Support for swapping pods out.

use super::probe::memory;
use super::{CgroupLayout, Cgroups};

/// Why pods cannot be swapped out on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSwap {
    /// The kubelet supports swap on cgroup v2 only.
    #[error(
        "swap for pods needs cgroup v2, which this host does not use; boot it with \
         `systemd.unified_cgroup_hierarchy=1`, or leave `swap` out"
    )]
    Cgroups,
    #[error("this host has no swap space; add some with mkswap(8) and swapon(8), or leave `swap` out")]
    Space,
}

impl NoSwap {
    /// Checks this host; `None` if pods can be swapped out.
    #[must_use]
    pub fn detect() -> Option<Self> {
        Self::new(Cgroups::probe().layout, memory().swap_bytes)
    }

    fn new(layout: CgroupLayout, swap_bytes: u64) -> Option<Self> {
        match (layout, swap_bytes) {
            (CgroupLayout::V2, 0) => Some(Self::Space),
            (CgroupLayout::V2, _) => None,
            _ => Some(Self::Cgroups),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CgroupLayout, NoSwap};

    #[test]
    fn swap_needs_cgroup_v2_and_swap_space() {
        for (layout, bytes, expected) in [
            (CgroupLayout::V2, 1 << 30, None),
            (CgroupLayout::V2, 0, Some(NoSwap::Space)),
            (CgroupLayout::Hybrid, 1 << 30, Some(NoSwap::Cgroups)),
            (CgroupLayout::V1, 0, Some(NoSwap::Cgroups)),
            (CgroupLayout::Absent, 0, Some(NoSwap::Cgroups)),
        ] {
            assert_eq!(NoSwap::new(layout, bytes), expected, "{layout:?} {bytes}");
        }
    }
}
