//! Several clusters at once.

use std::thread;

use parbake_test_support::leftovers::Leftovers;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check};

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// Four one-node clusters start in parallel, have separate identities, and are removed in parallel.
pub(crate) fn four(place: &Place) -> Outcome {
    let before = Leftovers::list(place.dir())?;
    each(|name| {
        // Each has half a CPU.
        place.run(&["up", PROVIDER, "--nodes", "1", "--name", name, "--wait", "5m"])?;
        place.run(&["--name", name, "kubectl", "create", "configmap", name])
    })?;
    each(|name| {
        let query = ["--name", name, "kubectl", "get", "configmap", "-o", "name"];
        let found = place.run(&query)?;
        let own = |other: &&str| found.contains(&format!("configmap/{other}\n"));
        let held: Vec<_> = NAMES.into_iter().filter(own).collect();
        check(held == [name], || format!("`{name}` has {held:?}"))
    })?;
    each(|name| place.run(&["down", "--name", name]))?;
    Leftovers::list(place.dir())?.nothing_new_since(&before)
}

/// Does the same with all clusters in parallel. Returns the first failure.
fn each<T: Send>(act: impl Fn(&'static str) -> Result<T, String> + Sync) -> Outcome {
    thread::scope(|scope| {
        let running = NAMES.map(|name| (name, scope.spawn(|| act(name))));
        running
            .into_iter()
            .try_for_each(|(name, thread)| match thread.join() {
                Ok(outcome) => outcome
                    .map(|_| ())
                    .map_err(|problem| format!("{name}: {problem}")),
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}
