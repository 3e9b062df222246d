//! The thaw and what comes after: plan, identity, readiness, lifecycle, cluster state.

mod again;
mod alone;
mod clusters;
pub mod config;
pub mod conformance;
pub mod copy;
mod diagnosis;
mod error;
mod floor;
mod freeze;
mod host_ports;
pub mod identity;
pub mod images;
pub mod kubeconfig;
mod layers;
mod life;
pub mod logs;
mod name;
pub mod nodes;
mod offered;
pub mod ports;
mod state;
mod status;
mod thaw;
pub mod timeline;

pub use alone::AloneError;
pub use clusters::{Cluster, Condition, Listed, down, layers_in_use, list};
pub use diagnosis::Diagnosis;
pub use error::Error;
pub use floor::{FloorError, floor};
pub use freeze::{Frozen, LeftOut, Options as FreezeOptions, freeze};
pub use life::{StartOptions, Started, create, pause, restart, start, stop, unpause};
pub use name::{ClusterName, InvalidClusterName};
pub use state::{Phase, Record, dir_of};
pub use status::{NodeStatus, Port, Status, status};
pub use thaw::{Options, Thawed, thaw};
