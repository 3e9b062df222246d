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

use parbake_test_support::place::{Fixture, Outcome, PROVIDER, Place, Test, fixtures_suffice, run};

/// The artifact of the default provider in the store.
static ARTIFACT: Fixture = Fixture {
    name: "artifact",
    needs: &[],
    make: provision,
};
/// An artifact with all tested add-ons.
static ADDONS: Fixture = Fixture {
    name: "add-ons",
    needs: &[],
    make: addons::baked,
};
/// An artifact with the network add-ons.
static NETWORKS: Fixture = Fixture {
    name: "network add-ons",
    needs: &[],
    make: networks::baked,
};

/// The tests, in the order in which they run.
#[rustfmt::skip]
const TESTS: &[Test] = &[
    ("provision", &[&ARTIFACT], fixtures_suffice),
    ("one_of_three_control_planes_may_fail", &[&ARTIFACT], ha::one_of_three_dies),
    ("dual_stack_works", &[&ARTIFACT], stacks::dual),
    ("ipv6_only_works", &[&ARTIFACT], stacks::ipv6),
    ("hundred_cycles_leave_nothing", &[&ARTIFACT], cycles::hundred),
    ("source_release_downloads_from_mirrors", &[&ARTIFACT], sources::released),
    ("addons_bake", &[&ADDONS], fixtures_suffice),
    ("metrics_server_reports_usage", &[&ADDONS], addons::metrics_server),
    ("traefik_serves_an_ingress", &[&ADDONS], addons::traefik),
    ("prometheus_scrapes", &[&ADDONS], addons::prometheus),
    ("cert_manager_issues", &[&ADDONS], addons::cert_manager),
    ("kwok_simulates_nodes", &[&ADDONS], addons::kwok),
    ("addons_work_on_1_36", &[], addons::newest),
    ("network_addons_bake", &[&NETWORKS], fixtures_suffice),
    ("network_policies_are_enforced", &[&NETWORKS], networks::policies),
    ("pods_have_several_networks", &[&NETWORKS], networks::multus),
    ("network_addons_survive_freeze", &[&NETWORKS], networks::again),
    ("variants_share_layers", &[&ARTIFACT], variants::share),
    ("every_kind_of_program_is_swapped", &[&ARTIFACT], swaps::all),
    ("source_directory_runs_the_local_build", &[&ARTIFACT], sources::developed),
    ("kubernetes_1_17_works", &[], versions::k8s_1_17),
    ("kubernetes_1_36_works", &[], versions::k8s_1_36),
    ("cri_o_works", &[&ARTIFACT], runtime::cri_o),
    ("docker_works", &[&ARTIFACT], runtime::docker),
    ("incomplete_node_os_is_rejected", &[&ARTIFACT], node_os::lacking),
    ("node_os_from_a_directory", &[&ARTIFACT], node_os::directory),
    ("node_os_from_an_archive", &[&ARTIFACT], node_os::archive),
    ("node_os_from_an_image", &[&ARTIFACT], node_os::image),
];

fn main() -> ExitCode {
    run(env!("CARGO_BIN_EXE_parbake"), TESTS)
}

fn provision(place: &Place) -> Outcome {
    place
        .run(&["provision", PROVIDER, "--source", "modules"])
        .map(|_| ())
}
