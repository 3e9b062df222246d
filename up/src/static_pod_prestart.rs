//! What makes the next start of a cluster quick, after its control plane was changed.

use parbake_cluster::{Description, head_start};
use parbake_machine::supervisor::Running;

/// Has the control planes of a cluster that is ready know how their first pods run now. Where that fails the next start
/// takes longer, and nothing else.
pub(crate) fn renew(running: &Running, cluster: &Description) {
    for node in cluster.control_planes() {
        if let Err(error) = head_start::renew(running, cluster.runtime(), node) {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(node = %node.name, "{error}: {}", cause.unwrap_or_default());
        }
    }
}
