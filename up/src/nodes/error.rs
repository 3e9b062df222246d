//! What can go wrong with nodes that come and go.

use parbake_cluster::drain::DrainError;
use parbake_cluster::hosts::HostsError;
use parbake_cluster::join::JoinError;
use parbake_cluster::{NodeName, wait};

use crate::Diagnosis;

/// Nodes that could not be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Only workers come and go.
    #[error(
        "node `{node}` holds the control plane and cannot be removed; `parbake down` removes the whole cluster"
    )]
    ControlPlane {
        /// The node.
        node: NodeName,
    },
    /// There is no such node.
    #[error("there is no node `{name}`; the nodes are {}", known.join(", "))]
    NotFound {
        /// The name that was given.
        name: NodeName,
        /// The names there are.
        known: Vec<String>,
    },
    /// A node could not join.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// Other nodes could not be told.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// Nodes joined and did not become ready.
    #[error("{timed_out}{diagnosis}")]
    NotReady {
        /// What was waited for.
        timed_out: wait::TimedOut,
        /// What the nodes had to say.
        diagnosis: Diagnosis,
    },
    /// A node's pods could not be moved.
    #[error(transparent)]
    Drain(#[from] DrainError),
    /// Somebody asked for an end.
    #[error("interrupted; the cluster has the nodes that it had before")]
    Interrupted,
}
