//! Forwards ports of this host to services of a cluster.
//!
//! Connections are made from one of the cluster's nodes, where service addresses are routed. Nothing is changed in the cluster
//! or on the host, and the forward ends with the process.

use std::net::SocketAddr;
use std::time::Duration;

use parbake_cluster::Role;
use parbake_cluster::api::services::ServicePort;

use crate::signals::interrupted;
use crate::{Cluster, ClusterName, Error};

/// How often to check that the cluster still runs.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A port of the host that this process forwards to a service.
#[derive(Debug)]
pub struct PortForward<'a> {
    cluster: &'a Cluster,
    address: SocketAddr,
}

/// Forwards `listen` to `service`. Port 0 picks a free port.
///
/// # Errors
/// The port is in use, or the node has ended.
pub fn open<'a>(
    cluster: &'a Cluster,
    service: &ServicePort,
    listen: SocketAddr,
) -> Result<PortForward<'a>, Error> {
    let nodes = cluster.record().cluster.nodes();
    let node = nodes
        .iter()
        .find(|node| node.role == Role::ControlPlane)
        .unwrap_or(&nodes[0]);
    let running = cluster.running();
    let address = running.forward(node.name.as_str(), listen, service.address)?;
    Ok(PortForward { cluster, address })
}

impl PortForward<'_> {
    /// The address on the host.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards until this process receives SIGINT or SIGTERM.
    ///
    /// # Errors
    /// The cluster `name` has ended.
    pub async fn until_interrupted(self, name: &ClusterName) -> Result<(), Error> {
        let ended = async {
            while self.cluster.running().state().supervisor.is_alive() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            () = interrupted() => Ok(()),
            () = ended => Err(Error::NotRunning { name: name.clone() }),
        }
    }
}
