//! End-to-end tests on real clusters.
//!
//! The tests run one at a time and in this order, since each cluster wants both CPUs of a small machine. They share a state
//! directory, which is removed at the end; bake inputs come from `PARBAKE_CACHE`. They need root and fail without it.

mod addons;
mod age;
mod bad_artifact;
mod bad_host;
mod bad_input;
mod bake;
mod concurrency;
mod configuration;
mod conformance;
mod dashboard;
mod freeze;
mod internet;
mod kubeadm;
mod life;
mod nodes;
mod pin;
mod store;
mod supply;
mod thaw;
mod timeouts;

use std::process::ExitCode;

use parbake_test_support::place::{Test, run};
use parbake_test_support::{access, identity, registry, services, swap, workload};

/// The tests, in the order in which they run.
const TESTS: &[(&str, Test)] = &[
    ("bad_input_fails_before_a_bake", bad_input::before_a_bake),
    ("full_disk_is_one_error", bad_input::full_disk),
    ("provision_bakes_a_small_artifact", bake::provision),
    ("unchanged_provision_does_nothing", bake::again),
    ("killed_provision_leaves_the_old_artifact", bake::killed),
    ("baked_manifest_runs_from_its_baked_image", addons::runs),
    ("two_bakes_are_reproducible", bake::alike),
    ("bake_with_a_missing_image_is_one_error", addons::lacking),
    ("conformance_bake_starts_in_the_background", conformance::begins),
    ("artifact_is_an_oci_image_layout", bake::layout),
    ("artifact_round_trips_through_a_registry", registry::round_trip),
    ("killed_pull_resumes", registry::interrupted),
    ("artifact_copied_by_skopeo_is_identical", registry::copied),
    (
        "registry_with_authentication_needs_credentials",
        registry::credentials,
    ),
    ("corrupt_registry_blob_is_rejected", registry::spoilt),
    ("registry_mistakes_are_one_error_each", registry::mistakes),
    ("project_pins_its_artifact", pin::project),
    ("damaged_store_is_repaired_unless_in_use", store::damaged),
    ("artifact_has_sbom_and_provenance", supply::documents),
    ("cosign_accepts_parbake_signatures", supply::parbake_signs),
    ("parbake_accepts_cosign_signatures", supply::cosign_signs),
    ("policy_rejects_untrusted_artifacts", supply::policy),
    ("quick_conformance_cases_pass", conformance::quick),
    ("artifact_contains_no_credential", identity::at_rest),
    ("one_node_cluster_has_no_stale_objects", thaw::one_node),
    ("three_node_cluster_has_no_internet_access", thaw::three_nodes),
    ("name_in_use_is_rejected", bad_input::taken_name),
    ("service_is_reached_by_name_from_another_node", workload::service),
    ("logs_exec_and_port_forward_work", workload::access),
    ("services_are_reached_from_the_host", access::services),
    ("images_from_files_run_as_pods", access::images),
    ("node_names_resolve_and_unknown_names_fail_fast", services::names),
    ("images_pushed_by_the_host_run_as_pods", services::images),
    ("log_export_contains_no_secret", access::logs),
    ("files_are_copied_into_and_out_of_nodes", access::files),
    ("second_cluster_runs_beside_the_first", thaw::second),
    ("kubeadm_commands_work", kubeadm::looks),
    ("node_rejoins_with_kubeadm", kubeadm::joins),
    ("down_leaves_nothing", thaw::down),
    ("four_clusters_run_in_parallel", concurrency::four),
    ("killed_up_is_cleaned_up_by_the_next_command", thaw::killed),
    ("interrupted_up_leaves_nothing", thaw::interrupted),
    ("timeout_names_the_cause", timeouts::time_outs),
    ("artifact_starts_with_any_clock", timeouts::clock),
    ("freeze_keeps_the_cluster_running", freeze::live),
    ("frozen_artifact_contains_no_credential", freeze::at_rest),
    ("frozen_cluster_runs_beside_the_original", freeze::beside),
    ("frozen_cluster_can_be_frozen_again", freeze::again),
    ("killed_freeze_resumes_the_cluster", freeze::killed),
    ("created_cluster_is_only_files", life::created),
    ("created_cluster_starts", life::started),
    ("node_is_added_to_a_running_cluster", nodes::added),
    ("kubelet_is_swapped", swap::kubelet),
    ("failed_swap_is_rolled_back", swap::failed),
    ("paused_cluster_uses_no_cpu", life::paused),
    ("stopped_cluster_starts_with_its_state", life::stopped),
    ("swapped_program_survives_a_stop", swap::at_work),
    ("killed_cluster_starts_with_its_state", life::killed),
    ("node_is_removed_from_a_running_cluster", nodes::removed),
    ("killed_stop_leaves_a_valid_state", life::killed_stop),
    ("cluster_is_removed_from_every_state", life::gone),
    ("configured_cluster_matches_its_file", configuration::made),
    ("configured_cluster_keeps_its_limits", configuration::limited),
    ("configured_cluster_has_its_options", configuration::options),
    ("configured_cluster_restarts_unchanged", configuration::again),
    ("freeze_leaves_out_host_configuration", configuration::frozen),
    (
        "internet_access_works_with_overlapping_host_addresses",
        internet::internet,
    ),
    ("no_free_port_is_one_error", bad_host::no_port),
    ("bad_input_in_the_store_is_one_error", bad_input::in_the_store),
    ("damaged_artifact_is_one_error", bad_artifact::config),
];

fn main() -> ExitCode {
    run(env!("CARGO_BIN_EXE_parbake"), TESTS)
}
