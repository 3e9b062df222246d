//! What takes too long for every run: `cargo test --release -p parbake --test long`, as root, with nothing else running.
//!
//! The table that a hundred cycles print is kept in `docs/figures/cycles.md`. Others bake from mirrors of what is published,
//! and from what a developer of Kubernetes built.

#[path = "../access.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod access;
#[path = "../elsewhere.rs"]
mod elsewhere;
#[path = "../events.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod events;
#[path = "../harness.rs"]
mod harness;
#[path = "../identity.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod identity;
#[path = "../listing.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod listing;
#[path = "../registry.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod registry;
#[path = "../secrets.rs"]
mod secrets;
#[path = "../services.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod services;
#[path = "../strangers.rs"]
mod strangers;
#[path = "../swap.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod swap;
#[path = "../variant.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod variant;
#[path = "../workload.rs"]
mod workload;

mod addons;
mod cycles;
mod ha;
mod mirror;
mod networks;
mod node_os;
mod resources;
mod runtime;
mod sources;
mod stacks;
mod swaps;
mod variants;
mod versions;

use std::process::ExitCode;

use harness::{Outcome, PROVIDER, Place, Test, run};

/// The tests, in the order in which they run.
const TESTS: &[(&str, Test)] = &[
    ("provision", provision),
    ("one_of_three_control_planes_may_die", ha::one_of_three_dies),
    ("both_families_of_addresses_work", stacks::dual),
    ("ipv6_works_alone", stacks::ipv6),
    ("a_hundred_cycles_leave_nothing", cycles::hundred),
    ("source_release_comes_from_mirrors", sources::released),
    ("addons_are_baked", addons::baked),
    ("addons_metrics_server_has_numbers", addons::metrics_server),
    ("addons_traefik_answers", addons::traefik),
    ("addons_prometheus_watches", addons::prometheus),
    ("addons_cert_manager_signs", addons::cert_manager),
    ("addons_kwok_has_fake_nodes", addons::kwok),
    ("addons_are_like_that_on_1_36", addons::newest),
    ("networks_are_baked", networks::baked),
    ("networks_have_policies", networks::policies),
    ("networks_are_more_than_one", networks::multus),
    ("networks_are_frozen_again", networks::again),
    ("variants_share_layers", variants::share),
    ("all_kinds_of_programs_are_swapped", swaps::all),
    ("source_directory_runs_what_was_built", sources::developed),
    ("kubernetes_1_17_is_like_the_others", versions::k8s_1_17),
    ("kubernetes_1_36_is_like_the_others", versions::k8s_1_36),
    ("cri_o_is_like_containerd", runtime::cri_o),
    ("docker_is_like_containerd", runtime::docker),
    ("node_os_that_lacks_something_is_refused", node_os::lacking),
    ("node_os_is_a_directory", node_os::directory),
    ("node_os_is_an_archive", node_os::archive),
    ("node_os_is_an_image", node_os::image),
];

fn main() -> ExitCode {
    run(TESTS)
}

fn provision(place: &Place) -> Outcome {
    place
        .run(&["provision", PROVIDER, "--source", "modules"])
        .map(|_| ())
}
