//! End-to-end tests on real clusters.
//!
//! The tests run one at a time and in this order, since each cluster wants both CPUs of a small machine. They share a state
//! directory, which is removed at the end, and fixtures, which the first test that needs one makes. Bake inputs come from
//! `PARBAKE_CACHE`. They need root and fail without it.

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
mod environment;
mod fixtures;
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

use fixtures::{
    ARTIFACT, CONFIGURED, CONFIGURED_OPTIONS, CONFIGURED_RESTARTED, COPY, FROZEN, HOSTILE, LIFE, LIFE_NODE,
    LIFE_RESTARTED, LIFE_SWAPPED, THREE_NODES, TWO_BAKES, WEB,
};
use parbake_test_support::place::{Test, fixtures_suffice, run};
use parbake_test_support::{access, identity, registry, services, swap, workload};

/// The tests, in the order in which they run.
#[rustfmt::skip]
const TESTS: &[Test] = &[
    ("bad_input_fails_before_a_bake", &[], bad_input::before_a_bake),
    ("full_disk_is_one_error", &[], bad_input::full_disk),
    ("provision_bakes_a_small_artifact", &[&ARTIFACT], bake::provision),
    ("unchanged_provision_does_nothing", &[&ARTIFACT], bake::again),
    ("killed_provision_leaves_the_old_artifact", &[&TWO_BAKES], fixtures_suffice),
    ("baked_manifest_runs_from_its_baked_image", &[&TWO_BAKES], addons::runs),
    ("two_bakes_are_reproducible", &[&TWO_BAKES], bake::alike),
    ("published_files_bake_without_compilers", &[&ARTIFACT], bake::published),
    ("bake_with_a_missing_image_is_one_error", &[&ARTIFACT], addons::lacking),
    ("conformance_bake_starts_in_the_background", &[], conformance::begins),
    ("artifact_is_an_oci_image_layout", &[&ARTIFACT], bake::layout),
    ("artifact_round_trips_through_a_registry", &[&ARTIFACT], registry::round_trip),
    ("killed_pull_resumes", &[&ARTIFACT], registry::interrupted),
    ("artifact_copied_by_skopeo_is_identical", &[&ARTIFACT], registry::copied),
    ("registry_with_authentication_needs_credentials", &[&ARTIFACT], registry::credentials),
    ("corrupt_registry_blob_is_rejected", &[&ARTIFACT], registry::corrupt),
    ("registry_mistakes_are_one_error_each", &[&ARTIFACT], registry::mistakes),
    ("project_pins_its_artifact", &[&ARTIFACT], pin::project),
    ("damaged_store_is_repaired_unless_in_use", &[&ARTIFACT], store::damaged),
    ("artifact_has_sbom_and_provenance", &[&ARTIFACT], supply::documents),
    ("cosign_accepts_parbake_signatures", &[&ARTIFACT], supply::parbake_signs),
    ("parbake_accepts_cosign_signatures", &[&ARTIFACT], supply::cosign_signs),
    ("policy_rejects_untrusted_artifacts", &[&ARTIFACT], supply::policy),
    ("quick_conformance_cases_pass", &[], conformance::quick),
    ("artifact_contains_no_credential", &[&ARTIFACT], identity::at_rest),
    ("one_node_cluster_has_no_stale_objects", &[&ARTIFACT], thaw::one_node),
    ("three_node_cluster_has_no_internet_access", &[&THREE_NODES], fixtures_suffice),
    ("name_in_use_is_rejected", &[&THREE_NODES], bad_input::taken_name),
    ("service_is_reached_by_name_from_another_node", &[&WEB], fixtures_suffice),
    ("logs_exec_and_port_forward_work", &[&WEB], workload::access),
    ("services_are_reached_from_the_host", &[&WEB], access::services),
    ("images_from_files_run_as_pods", &[&THREE_NODES], access::images),
    ("node_names_resolve_and_unknown_names_fail_fast", &[&WEB], services::node_names),
    ("images_pushed_by_the_host_run_as_pods", &[&THREE_NODES], services::images),
    ("log_export_contains_no_secret", &[&WEB], access::logs),
    ("files_are_copied_into_and_out_of_nodes", &[&THREE_NODES], access::files),
    ("second_cluster_runs_beside_the_first", &[&THREE_NODES], thaw::second),
    ("kubeadm_commands_work", &[&THREE_NODES], kubeadm::looks),
    ("node_rejoins_with_kubeadm", &[&THREE_NODES], kubeadm::joins),
    ("down_leaves_nothing", &[&THREE_NODES], thaw::down),
    ("four_clusters_run_in_parallel", &[&ARTIFACT], concurrency::four),
    ("killed_up_is_cleaned_up_by_the_next_command", &[&ARTIFACT], thaw::killed),
    ("interrupted_up_leaves_nothing", &[&ARTIFACT], thaw::interrupted),
    ("timeout_names_the_cause", &[&ARTIFACT], timeouts::time_outs),
    ("artifact_starts_with_any_clock", &[&ARTIFACT], timeouts::clock),
    ("freeze_keeps_the_cluster_running", &[&FROZEN], fixtures_suffice),
    ("frozen_artifact_contains_no_credential", &[&FROZEN], freeze::at_rest),
    ("frozen_cluster_runs_beside_the_original", &[&COPY], fixtures_suffice),
    ("frozen_cluster_can_be_frozen_again", &[&COPY], freeze::again),
    ("killed_freeze_resumes_the_cluster", &[&FROZEN], freeze::killed),
    ("created_cluster_is_only_files", &[&ARTIFACT], life::created),
    ("created_cluster_starts", &[&LIFE], fixtures_suffice),
    ("node_is_added_to_a_running_cluster", &[&LIFE_NODE], fixtures_suffice),
    ("kubelet_is_swapped", &[&LIFE_SWAPPED], fixtures_suffice),
    ("failed_swap_is_rolled_back", &[&LIFE_SWAPPED], swap::failed),
    ("paused_cluster_uses_no_cpu", &[&LIFE], life::paused),
    ("stopped_cluster_starts_with_its_state", &[&LIFE_RESTARTED], fixtures_suffice),
    ("swapped_program_survives_a_stop", &[&LIFE_RESTARTED], swap::at_work),
    ("killed_cluster_starts_with_its_state", &[&LIFE], life::killed),
    ("node_is_removed_from_a_running_cluster", &[&LIFE_NODE], nodes::removed),
    ("killed_stop_leaves_a_valid_state", &[&LIFE], life::killed_stop),
    ("cluster_is_removed_from_every_state", &[&LIFE], life::gone),
    ("configured_cluster_matches_its_file", &[&CONFIGURED], fixtures_suffice),
    ("configured_cluster_keeps_its_limits", &[&CONFIGURED], configuration::limited),
    ("configured_cluster_has_its_options", &[&CONFIGURED_OPTIONS], fixtures_suffice),
    ("configured_cluster_restarts_unchanged", &[&CONFIGURED_RESTARTED], fixtures_suffice),
    ("freeze_leaves_out_host_configuration", &[&CONFIGURED_RESTARTED], configuration::frozen),
    ("internet_access_works_with_overlapping_host_addresses", &[&ARTIFACT], internet::internet),
    ("up_works_in_a_hostile_environment", &[&HOSTILE], fixtures_suffice),
    ("commands_work_behind_unreachable_proxies", &[&HOSTILE], environment::proxies),
    ("kubeconfig_replaces_only_regular_files", &[&HOSTILE], environment::special_files),
    ("closed_output_does_not_stop_up", &[&ARTIFACT], environment::closed_output),
    ("relative_state_directories_are_separate", &[&ARTIFACT], environment::relative_state_directories),
    ("rejecting_webhook_and_full_quota_do_not_block", &[&HOSTILE], environment::admission),
    ("no_free_port_is_one_error", &[&ARTIFACT], bad_host::no_port),
    ("bad_input_in_the_store_is_one_error", &[&ARTIFACT], bad_input::in_the_store),
    ("damaged_artifact_is_one_error", &[&ARTIFACT], bad_artifact::config),
];

fn main() -> ExitCode {
    run(env!("CARGO_BIN_EXE_parbake"), TESTS)
}
