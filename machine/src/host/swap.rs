//! Whether pods can be swapped out.

use super::probe::memory;
use super::{CgroupLayout, Cgroups};

/// A host on which no kubelet lets pods swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSwap {
    /// Kubelets know swap space in cgroup v2 alone.
    #[error(
        "kubelets give pods swap space on hosts with cgroup v2 alone, and this one has not; boot it with \
         `systemd.unified_cgroup_hierarchy=1`, or leave `swap` out"
    )]
    Cgroups,
    /// There is none.
    #[error("this host has no swap space; add some with mkswap(8) and swapon(8), or leave `swap` out")]
    Space,
}

impl NoSwap {
    /// Looks at this host; nothing where pods can be swapped out.
    #[must_use]
    pub fn look() -> Option<Self> {
        Self::of(Cgroups::probe().layout, memory().swap_bytes)
    }

    fn of(layout: CgroupLayout, swap_bytes: u64) -> Option<Self> {
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
    fn pods_swap_where_the_host_has_both() {
        for (layout, bytes, expected) in [
            (CgroupLayout::V2, 1 << 30, None),
            (CgroupLayout::V2, 0, Some(NoSwap::Space)),
            (CgroupLayout::Hybrid, 1 << 30, Some(NoSwap::Cgroups)),
            (CgroupLayout::V1, 0, Some(NoSwap::Cgroups)),
            (CgroupLayout::Absent, 0, Some(NoSwap::Cgroups)),
        ] {
            assert_eq!(NoSwap::of(layout, bytes), expected, "{layout:?} {bytes}");
        }
    }
}
