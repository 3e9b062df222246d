//! Tests that take minutes to an hour each, run by hand as root: `cargo test --release -p parbake --test long`.
//!
//! `docs/figures/cycles.md` has the table that the test of a hundred cycles prints.

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

use parbake_test_support::place::{Outcome, PROVIDER, Place, Test, run};

/// The tests, in the order in which they run.
const TESTS: &[(&str, Test)] = &[
    ("provision", provision),
    ("one_of_three_control_planes_may_fail", ha::one_of_three_dies),
    ("dual_stack_works", stacks::dual),
    ("ipv6_only_works", stacks::ipv6),
    ("hundred_cycles_leave_nothing", cycles::hundred),
    ("source_release_downloads_from_mirrors", sources::released),
    ("addons_bake", addons::baked),
    ("metrics_server_reports_usage", addons::metrics_server),
    ("traefik_serves_an_ingress", addons::traefik),
    ("prometheus_scrapes", addons::prometheus),
    ("cert_manager_issues", addons::cert_manager),
    ("kwok_simulates_nodes", addons::kwok),
    ("addons_work_on_1_36", addons::newest),
    ("network_addons_bake", networks::baked),
    ("network_policies_are_enforced", networks::policies),
    ("pods_have_several_networks", networks::multus),
    ("network_addons_survive_freeze", networks::again),
    ("variants_share_layers", variants::share),
    ("every_kind_of_program_is_swapped", swaps::all),
    ("source_directory_runs_the_local_build", sources::developed),
    ("kubernetes_1_17_works", versions::k8s_1_17),
    ("kubernetes_1_36_works", versions::k8s_1_36),
    ("cri_o_works", runtime::cri_o),
    ("docker_works", runtime::docker),
    ("incomplete_node_os_is_rejected", node_os::lacking),
    ("node_os_from_a_directory", node_os::directory),
    ("node_os_from_an_archive", node_os::archive),
    ("node_os_from_an_image", node_os::image),
];

fn main() -> ExitCode {
    run(env!("CARGO_BIN_EXE_parbake"), TESTS)
}

fn provision(place: &Place) -> Outcome {
    place
        .run(&["provision", PROVIDER, "--source", "modules"])
        .map(|_| ())
}
