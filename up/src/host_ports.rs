//! Ports of the host that lead into a cluster as long as it runs: to its API first, then to its registry if it has one.

use std::net::{Ipv4Addr, SocketAddr};

use parbake_cluster::Description;
use parbake_machine::plan::Forward;

use crate::state::Record;

/// The ports that are wanted: where the host had them last if that can be had, otherwise any.
pub(crate) fn forwards(record: &Record) -> Vec<Forward> {
    let registry = record.cluster.registry().map(|registry| Forward {
        listen: record
            .registry
            .unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        to: registry,
        movable: true,
    });
    std::iter::once(forward(&record.cluster, record.api))
        .chain(registry)
        .collect()
}

/// The host's way to the API: at `last` if that can be had, at any port of its own otherwise.
pub(crate) fn forward(cluster: &Description, last: Option<SocketAddr>) -> Forward {
    Forward {
        listen: last.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        to: cluster.api_server(),
        movable: true,
    }
}

/// Where they lead to, in the same order.
pub(crate) fn targets(cluster: &Description) -> Vec<SocketAddr> {
    let registry = cluster.registry();
    std::iter::once(cluster.api_server()).chain(registry).collect()
}

/// Which of `ports` leads to the registry.
pub(crate) fn registry(cluster: &Description, ports: &[SocketAddr]) -> Option<SocketAddr> {
    let registry = cluster.registry()?;
    let pairs = targets(cluster).into_iter().zip(ports);
    pairs
        .into_iter()
        .find_map(|(target, port)| (target == registry).then_some(*port))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use parbake_cluster::{ClusterDomain, NodeName, Offered, Role, Subnets};

    use super::{forwards, registry, targets};
    use crate::state::Record;

    fn record(services: Offered) -> Record {
        let [nodes, pods, networks] =
            ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"].map(|net| net.parse().unwrap());
        let subnets = Subnets {
            nodes,
            pods,
            services: networks,
        };
        let names = [(NodeName::numbered(1), Role::ControlPlane)];
        let cluster = subnets.describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &names);
        let cluster = cluster.unwrap().offering(services);
        Record {
            cluster,
            ..crate::state::record_for_tests()
        }
    }

    #[test]
    fn only_a_cluster_with_a_registry_has_a_port_for_it() {
        let ports: [SocketAddr; 2] = ["127.0.0.1:1", "127.0.0.1:2"].map(|port| port.parse().unwrap());
        let older = record(Offered::default());
        assert_eq!(forwards(&older).len(), 1);
        assert_eq!(registry(&older.cluster, &ports[..1]), None);
        let mut record = record(Offered {
            dns: false,
            registry: true,
        });
        assert_eq!(registry(&record.cluster, &ports), Some(ports[1]));
        assert_eq!(registry(&record.cluster, &[]), None);
        assert_eq!(forwards(&record)[1].listen.port(), 0);
        // As the API's: where it was, if that can be had.
        record.registry = Some(ports[1]);
        let wanted = forwards(&record);
        assert_eq!(wanted[1].listen, ports[1]);
        assert!(wanted.iter().all(|forward| forward.movable));
        let to: Vec<SocketAddr> = wanted.iter().map(|forward| forward.to).collect();
        assert_eq!(to, targets(&record.cluster));
        assert_eq!(to[1].to_string(), "10.89.0.11:5000");
    }
}
