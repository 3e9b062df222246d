//! Keeps the next start of a cluster fast after its control plane was changed.

use parbake_cluster::Description;
use parbake_cluster::api::static_pod_prestart;
use parbake_machine::supervisor::Running;

/// Records on the control planes of a ready cluster how its static pods run, so that the next boot can start them before the
/// kubelet. A failure only makes the next start slower.
pub(crate) fn renew(running: &Running, cluster: &Description) {
    for node in cluster.control_planes() {
        if let Err(error) = static_pod_prestart::refresh(running, cluster.runtime(), node) {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(node = %node.name, "{error}: {}", cause.unwrap_or_default());
        }
    }
}
