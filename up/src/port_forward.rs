//! Services of a cluster on ports of this host, as long as somebody holds them.
//!
//! The connection is made on one of the cluster's nodes, where the address of a service means what it means in the
//! cluster: nothing is changed there, on the host there is no rule and no interface, and what is held ends with its
//! process.

use std::net::SocketAddr;
use std::time::Duration;

use parbake_cluster::Role;
use parbake_cluster::services::ServicePort;

use crate::signals::interrupted;
use crate::{Cluster, ClusterName, Error};

/// How often it is looked whether the cluster still runs.
const LOOK: Duration = Duration::from_secs(1);

/// A port of the host that leads to a service, served by this process.
#[derive(Debug)]
pub struct PortForward<'a> {
    cluster: &'a Cluster,
    address: SocketAddr,
}

/// Opens `listen` on the host, where port 0 is any free one, and connects whoever comes there with `service`.
///
/// # Errors
/// The port is taken, or the node is gone.
pub fn open<'a>(
    cluster: &'a Cluster,
    service: &ServicePort,
    listen: SocketAddr,
) -> Result<PortForward<'a>, Error> {
    let nodes = cluster.record().cluster.nodes();
    let plane = nodes
        .iter()
        .find(|node| node.role == Role::ControlPlane)
        .unwrap_or(&nodes[0]);
    let running = cluster.running();
    let address = running.forward(plane.name.as_str(), listen, service.address)?;
    Ok(PortForward { cluster, address })
}

impl PortForward<'_> {
    /// Where the host reaches the service.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds the port until this process is asked to end (SIGINT, SIGTERM).
    ///
    /// # Errors
    /// The cluster, called `name`, has ended meanwhile.
    pub async fn until_interrupted(self, name: &ClusterName) -> Result<(), Error> {
        let ended = async {
            while self.cluster.running().state().supervisor.is_alive() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = interrupted() => Ok(()),
            () = ended => Err(Error::NotRunning { name: name.clone() }),
        }
    }
}
