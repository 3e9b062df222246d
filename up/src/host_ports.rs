//! Ports of the host that lead into a running cluster: to its API first, then to its registry if it has one.

use std::net::SocketAddr;

use parbake_cluster::api::local_registry;
use parbake_cluster::launch::{api_port, host_port};
use parbake_cluster::{Client, Description};
use parbake_machine::plan::Forward;

use crate::state::Record;

/// The ports to open. Each prefers the address that it had last time.
pub(crate) fn forwards(record: &Record) -> Vec<Forward> {
    let registry = record.cluster.registry();
    let registry = registry.map(|target| host_port(target, record.registry));
    std::iter::once(api_port(&record.cluster, record.api))
        .chain(registry)
        .collect()
}

/// Which of the open `ports`, in the order of [`forwards`], leads to the registry.
pub(crate) fn registry(cluster: &Description, ports: &[SocketAddr]) -> Option<SocketAddr> {
    cluster.registry().and_then(|_| ports.get(1).copied())
}

/// Publishes in the cluster where its registry is on the host, if it has one. A failure is a warning: only development tools
/// look there.
pub(crate) async fn publish_registry(client: &Client, cluster: &Description, ports: &[SocketAddr]) {
    let (Some(host), Some(name)) = (registry(cluster, ports), cluster.registry_name()) else {
        return;
    };
    if let Err(error) = local_registry::publish(client, &name, host).await {
        tracing::warn!(
            "development tools such as Tilt will not find the cluster's registry, which is at `{host}`: {}",
            error.line()
        );
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use parbake_cluster::BuiltinServices;

    use super::{forwards, registry};
    use crate::state::{Record, test_record};

    fn record(registry: bool) -> Record {
        let record = test_record();
        let services = BuiltinServices { dns: false, registry };
        Record {
            cluster: record.cluster.with_builtin_services(services),
            ..record
        }
    }

    #[test]
    fn only_a_cluster_with_a_registry_has_a_port_for_it() {
        let ports: [SocketAddr; 2] = ["127.0.0.1:1", "127.0.0.1:2"].map(|port| port.parse().unwrap());
        let without = record(false);
        assert_eq!(forwards(&without).len(), 1);
        assert_eq!(registry(&without.cluster, &ports), None);
        let mut with = record(true);
        assert_eq!(registry(&with.cluster, &ports), Some(ports[1]));
        assert_eq!(registry(&with.cluster, &[]), None);
        assert_eq!(forwards(&with)[1].listen.port(), 0);
        let last = ports[1];
        with.registry = Some(last);
        let ports = forwards(&with);
        assert_eq!(ports[1].listen, last);
        assert!(ports.iter().all(|forward| forward.movable));
        assert_eq!(ports[0].to, with.cluster.api_server());
        assert_eq!(ports[1].to.to_string(), "10.89.0.11:5000");
    }
}
