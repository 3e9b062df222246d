//! The thaw and what comes after: plan, identity, readiness, lifecycle, cluster state.

mod clusters;
mod diagnosis;
mod error;
mod floor;
pub mod identity;
mod name;
mod state;
mod thaw;
pub mod timeline;

pub use clusters::{Cluster, Condition, Listed, down, layers_in_use, list};
pub use diagnosis::Diagnosis;
pub use error::Error;
pub use floor::{FloorError, floor};
pub use name::{ClusterName, InvalidClusterName};
pub use state::{Phase, Record, dir_of};
pub use thaw::{Options, Thawed, thaw};
