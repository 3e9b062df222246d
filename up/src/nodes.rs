//! Workers that join or leave a running cluster.
//!
//! ```text
//! add      record as pending -> boot -> kubeadm join -> wait until ready -> record as part of the cluster
//! remove   cordon -> drain -> record as removed -> power off -> delete from the API and from the nodes' hosts files
//! ```
//!
//! A node that joined consists of the layers that all machines share, plus what kubeadm wrote. From then on it is like any
//! other node of [`Record::cluster`](crate::Record); only the artifact, which has no machine of its name, tells them apart.
//!
//! Control planes cannot join or leave: etcd runs on those that were baked.

mod add;
mod join;
mod list;
mod remove;

pub use add::{AddOptions, Added, add};
pub(crate) use join::Join;
pub use list::{NodeListing, Origin, list};
pub use remove::{RemoveOptions, remove};
