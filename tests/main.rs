//! End to end, on real clusters: bake once, then thaw and use.
//!
//! The tests run in order, one at a time, since each cluster wants both processors of a small machine. They need root
//! and fail without. State lives in a directory of its own that is removed at the end; inputs come from `PARBAKE_CACHE`.

mod access;
mod addons;
mod age;
mod bad_artifact;
mod bad_host;
mod bad_input;
mod bake;
mod configuration;
mod conformance;
mod dashboard;
mod elsewhere;
mod events;
mod freeze;
mod harness;
mod honesty;
mod identity;
mod kubeadm;
mod life;
mod listing;
mod nodes;
mod outside;
mod pin;
#[expect(dead_code, reason = "the tests without a cluster use the rest")]
mod pseudo_terminal;
mod registry;
mod secrets;
mod services;
mod store;
mod strangers;
mod supply;
mod swap;
mod thaw;
mod together;
mod variant;
mod workload;

use std::process::ExitCode;

use harness::{Test, run};

/// The tests, in the order in which they run.
const TESTS: &[(&str, Test)] = &[
    ("bad_input_before_a_bake", bad_input::before_a_bake),
    ("a_full_disk_is_one_error", bad_input::full_disk),
    ("provision_bakes_a_small_artifact", bake::provision),
    ("provision_again_changes_nothing", bake::again),
    ("a_killed_provision_leaves_the_old_artifact", bake::killed),
    ("an_own_manifest_runs_from_its_own_image", addons::runs),
    ("two_bakes_are_alike", bake::alike),
    ("a_bake_that_lacks_an_image_is_one_error", addons::lacking),
    ("a_bake_with_conformance_begins", conformance::begins),
    ("the_artifact_is_an_oci_image_layout", bake::layout),
    ("a_registry_takes_and_gives_an_artifact", registry::round_trip),
    ("a_killed_pull_goes_on_where_it_was", registry::interrupted),
    ("an_artifact_that_skopeo_copied_is_the_same", registry::copied),
    ("a_registry_wants_credentials", registry::credentials),
    ("a_blob_that_a_registry_spoilt_is_refused", registry::spoilt),
    ("mistakes_with_registries_are_one_error_each", registry::mistakes),
    ("a_project_pins_its_artifact", pin::project),
    (
        "what_is_damaged_is_mended_but_not_under_a_cluster",
        store::damaged,
    ),
    ("the_artifact_tells_what_it_is_made_of", supply::documents),
    ("cosign_accepts_what_parbake_signs", supply::parbake_signs),
    ("parbake_accepts_what_cosign_signs", supply::cosign_signs),
    ("the_policy_refuses_what_nobody_trusted_signed", supply::policy),
    ("quick_conformance_cases_hold", conformance::quick),
    ("the_artifact_holds_no_credential", identity::at_rest),
    ("up_with_one_node_leaves_no_ghost", thaw::one_node),
    ("up_with_three_nodes_has_no_way_out", thaw::three_nodes),
    ("a_name_that_is_taken_is_refused", bad_input::taken_name),
    (
        "a_service_is_reached_by_name_from_another_node",
        workload::service,
    ),
    ("logs_exec_and_port_forward_work", workload::access),
    ("services_are_reached_from_the_host", access::services),
    ("images_from_files_run_as_pods", access::images),
    ("names_of_nodes_are_known_and_others_refused", services::names),
    ("images_that_the_host_pushes_run_as_pods", services::images),
    ("an_export_of_logs_holds_no_secret", access::logs),
    ("files_go_into_a_node_and_out_of_it", access::files),
    ("a_second_cluster_stands_beside_the_first", thaw::second),
    ("kubeadm_knows_its_way_around", kubeadm::looks),
    ("a_node_joins_anew", kubeadm::joins),
    ("down_leaves_nothing", thaw::down),
    ("four_clusters_stand_side_by_side", together::four),
    ("a_killed_up_is_cleaned_up_by_the_next", thaw::killed),
    ("an_interrupted_up_leaves_nothing", thaw::interrupted),
    ("a_time_out_says_who_is_to_blame", honesty::time_outs),
    ("a_clock_far_from_the_bakes_is_no_matter", honesty::clock),
    ("freeze_leaves_the_cluster_as_it_was", freeze::live),
    ("freeze_leaves_no_credential", freeze::at_rest),
    ("what_was_frozen_runs_beside_the_first", freeze::beside),
    ("freeze_of_what_was_frozen_before", freeze::again),
    ("a_killed_freeze_lets_the_cluster_go_on", freeze::killed),
    ("a_created_cluster_is_only_files", life::created),
    ("a_created_cluster_starts", life::started),
    ("a_node_is_added_to_a_running_cluster", nodes::added),
    ("a_kubelet_is_swapped", swap::kubelet),
    ("a_swap_that_fails_is_put_back", swap::failed),
    ("a_paused_cluster_uses_no_processor", life::paused),
    ("a_stopped_cluster_comes_back_as_it_was", life::stopped),
    ("a_stopped_cluster_keeps_what_was_swapped", swap::at_work),
    ("a_killed_cluster_comes_back_as_it_was", life::killed),
    ("a_node_leaves_a_running_cluster", nodes::removed),
    ("a_killed_stop_leaves_no_half", life::killed_stop),
    ("a_cluster_goes_from_every_state", life::gone),
    ("a_configured_cluster_is_as_its_file_says", configuration::made),
    ("a_configured_cluster_keeps_its_limits", configuration::limited),
    ("a_configured_cluster_has_its_options", configuration::options),
    ("a_configured_cluster_comes_back_as_it_was", configuration::again),
    (
        "a_configured_cluster_is_frozen_without_its_host",
        configuration::frozen,
    ),
    (
        "a_way_out_and_the_hosts_addresses_are_no_matter",
        outside::internet,
    ),
    ("no_free_port_is_one_error", bad_host::no_port),
    ("bad_input_in_the_store", bad_input::in_the_store),
    ("a_damaged_artifact_is_one_error", bad_artifact::config),
];

fn main() -> ExitCode {
    run(TESTS)
}
