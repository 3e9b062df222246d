//! Checks of memory, disk space and kernel limits.

use crate::host::Host;
use crate::host::decide::{INOTIFY_INSTANCES, INOTIFY_WATCHES};
use crate::process::limits::{NEEDED, NeededLimit};

use super::{Check, Purpose, only_for};

const GIB: u64 = 1 << 30;
/// Free disk space that a cluster needs to start.
const DISK_UP: u64 = 2 * GIB;
/// Free disk space that a bake of three nodes needs in the state directory, about twice what it uses.
const DISK_PROVISION: u64 = 5 * GIB;

pub(super) fn inotify(host: &Host) -> Check {
    let low = host.decide().limits;
    if low.is_empty() {
        return Check::ok(
            "inotify",
            format!("at least {INOTIFY_INSTANCES} instances, {INOTIFY_WATCHES} watches"),
        );
    }
    let value = |limit: Option<u64>| limit.unwrap_or_default();
    let (instances, watches) = (
        value(host.limits.inotify_instances),
        value(host.limits.inotify_watches),
    );
    let found = format!("{instances} instances, {watches} watches: too few for several clusters at once");
    let raise: Vec<String> = low
        .iter()
        .map(|limit| format!("{}={}", limit.name, limit.at_least))
        .collect();
    Check::warning(
        "inotify",
        found,
        format!("raise the limit: `sysctl -w {}`", raise.join(" ")),
    )
}

pub(super) fn keyrings(host: &Host) -> Check {
    match host.limits.root_keys {
        Some(keys) if keys < 1000 => {
            let found = format!("{keys} for root: each container takes one");
            Check::warning(
                "keyrings",
                found,
                "raise the limit: `sysctl -w kernel.keys.root_maxkeys=1000000`",
            )
        }
        Some(keys) => Check::ok("keyrings", format!("{keys} for root")),
        None => Check::ok("keyrings", "the kernel has none, and no limit"),
    }
}

/// With CAP_SYS_RESOURCE the supervisor raises limits that are too low.
pub(super) fn process_limits(host: &Host) -> Check {
    let name = "process limits";
    let value = |needed: &NeededLimit| host.limits.process.get(needed.name).copied();
    let low = NEEDED
        .iter()
        .find(|needed| value(needed).is_some_and(|value| needed.is_too_low(value)));
    match low {
        Some(low) if !host.has_capability("CAP_SYS_RESOURCE") => {
            let found = format!(
                "{}: {} is too low for a cluster",
                low.name,
                value(low).unwrap_or_default()
            );
            let remedy = format!(
                "raise the hard limit: `ulimit -{}` in the shell, `--ulimit` of the container",
                low.option
            );
            Check::failed(name, found, remedy)
        }
        _ => Check::ok(name, "high enough"),
    }
}

pub(super) fn memory(host: &Host) -> Check {
    let (free, total) = (host.memory.available_bytes, host.memory.total_bytes);
    let found = format!("{} of {} available", gib(free), gib(total));
    if free < GIB {
        Check::failed("memory", found, "free some: one node takes about 1 GiB")
    } else if free < 3 * GIB {
        Check::warning(
            "memory",
            found,
            "free some for a cluster of three nodes, or start fewer with `--nodes`",
        )
    } else {
        Check::ok("memory", found)
    }
}

pub(super) fn disk(host: &Host, purpose: Purpose) -> Check {
    let free = host.state_dir.free_bytes;
    let found = format!("{} free at `{}`", gib(free), host.state_dir.path.display());
    let remedy = |needed| {
        format!(
            "free some, up to {}, or choose another place with `--dir`",
            gib(needed)
        )
    };
    if free < DISK_UP && purpose != Purpose::Provision {
        Check::failed("disk space", found, remedy(DISK_UP))
    } else if free < DISK_PROVISION && purpose != Purpose::Up {
        let check = Check::failed("disk space", found, remedy(DISK_PROVISION));
        if purpose == Purpose::All {
            only_for("provision", check)
        } else {
            check
        }
    } else {
        Check::ok("disk space", found)
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / GIB as f64)
}
