//! Repeated `up` and `down`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::resources::Resources;
use parbake_test_support::leftovers::Leftovers;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check, eventually};

const CYCLES: usize = 100;
/// The first cycles fill the kernel's caches and the page cache.
const WARM_UP: usize = 5;
/// Cycles between two printed lines.
const PRINTED: usize = 10;
/// How much less memory may be available at the end, in KiB: less than the processes of a cluster need, and 2 MiB for each cycle.
const MEMORY: u64 = 200 * 1024;
/// How many removed cgroups the kernel may still keep at the end: less than one for each cycle.
const CGROUPS: u64 = 50;
/// How often caches are dropped without effect before the test stops trying.
const PATIENCE: usize = 3;

pub(crate) fn hundred(place: &Place) -> Outcome {
    for _ in 0..WARM_UP {
        cycle(place)?;
    }
    let (listed, before) = (Leftovers::list(place.dir())?, without_caches()?);
    println!(
        "| cycles | up, s | down, s | memory available, MiB | kernel's own, MiB | cgroups | mounts | interfaces |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    line(0, Duration::ZERO, Duration::ZERO, before);
    for number in 1..=CYCLES {
        let (up, down) = cycle(place)?;
        if number % PRINTED == 0 {
            line(number, up, down, settled()?);
        }
        // Processes that are exiting may need a moment.
        eventually("the host to be as before", Duration::from_secs(5), || {
            Leftovers::list(place.dir())?.nothing_new_since(&listed)
        })
        .map_err(|problem| format!("after {number} cycles: {problem}"))?;
    }
    let after = without_caches()?;
    line(CYCLES, Duration::ZERO, Duration::ZERO, after);
    check(
        after.mounts <= before.mounts && after.interfaces <= before.interfaces,
        || format!("{before:?} became {after:?}"),
    )?;
    check(before.available.saturating_sub(after.available) < MEMORY, || {
        format!("{before:?} became {after:?}")
    })?;
    check(after.cgroups.saturating_sub(before.cgroups) < CGROUPS, || {
        format!("{before:?} became {after:?}")
    })
}

fn cycle(place: &Place) -> Result<(Duration, Duration), String> {
    let start = Instant::now();
    place.run(&["up", PROVIDER, "--nodes", "1"])?;
    let up = start.elapsed();
    place.run(&["down"])?;
    Ok((up, start.elapsed() - up))
}

/// The host after its caches are dropped: the page cache, and removed cgroups that are kept because of it (Linux,
/// admin-guide/cgroup-v1/memory, 'rmdir'). Dirty pages are not dropped, and a cgroup is only released after its
/// children, so this takes several attempts.
fn without_caches() -> Result<Resources, String> {
    let (mut last, mut same) = (Resources::look()?, 0);
    while same < PATIENCE {
        nix::unistd::sync();
        std::fs::write("/proc/sys/vm/drop_caches", "3").map_err(|error| error.to_string())?;
        let now = settled()?;
        same = if now.cgroups < last.cgroups { 0 } else { same + 1 };
        last = now;
    }
    Ok(last)
}

/// The host after the kernel had time to clean up.
fn settled() -> Result<Resources, String> {
    sleep(Duration::from_secs(2));
    Resources::look()
}

fn line(number: usize, up: Duration, down: Duration, found: Resources) {
    println!(
        "| {number} | {:.1} | {:.1} | {} | {} | {} | {} | {} |",
        up.as_secs_f64(),
        down.as_secs_f64(),
        found.available / 1024,
        found.kernel / 1024,
        found.cgroups,
        found.mounts,
        found.interfaces
    );
}
