//! Access of a cluster to other networks (`--internet`).

use ipnet::{IpNet, Ipv4Net};
use parbake_cluster::Description;
use parbake_machine::net::NetNs;

use crate::error::Error;

/// Checks that a cluster can use `--internet`, which provides IPv4 only.
pub(crate) fn require_ipv4(cluster: &Description) -> Result<(), Error> {
    match cluster.networks().has_ipv4() {
        true => Ok(()),
        false => Err(Error::InternetNeedsIpv4),
    }
}

/// Warns of networks of the host that a cluster with `--internet` cannot reach, since its own networks hide them.
pub(crate) fn warn_of_hidden_networks(cluster: &Description) {
    let host = NetNs::of_process(std::process::id()).map(|host| host.reachable());
    match host {
        Ok(Ok(host)) => {
            for hidden in hidden_networks(cluster, &host) {
                tracing::warn!("{hidden}");
            }
        }
        // It is only a warning.
        Ok(Err(error)) => tracing::debug!(%error, "could not compare networks"),
        Err(error) => tracing::debug!(%error, "could not compare networks"),
    }
}

fn hidden_networks(cluster: &Description, host: &[Ipv4Net]) -> Vec<String> {
    let own = cluster.networks().families().flat_map(|family| {
        [
            ("nodes", family.nodes, "do not reach it"),
            ("pods", family.pods, "do not reach it"),
            (
                "services",
                family.services,
                "reach services that have its addresses instead",
            ),
        ]
    });
    let hidden = own.filter_map(|(kind, network, consequence)| {
        let IpNet::V4(own) = network else { return None };
        let overlaps = |other: &&Ipv4Net| own.contains(&other.network()) || other.contains(&own.network());
        let hidden: Vec<String> = host.iter().filter(overlaps).map(ToString::to_string).collect();
        (!hidden.is_empty()).then(|| {
            format!(
                "the cluster's network {own} for {kind} hides {} of this host: nodes and pods {consequence}; to use \
                 both, bake the cluster with other networks",
                hidden.join(", ")
            )
        })
    });
    hidden.collect()
}

#[cfg(test)]
mod tests {
    use super::{hidden_networks, require_ipv4};
    use crate::state::test_description;

    #[test]
    fn ipv6_only_cluster_has_no_internet_access() {
        let ipv4 = test_description(["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"]);
        assert!(require_ipv4(&ipv4).is_ok());
        let ipv6 = test_description(["fd00:10:89::/64", "fd00:10:244::/56", "fd00:10:96::/112"]);
        assert!(require_ipv4(&ipv6).is_err());
    }

    #[test]
    fn overlapping_networks_of_the_host_are_named() {
        let cluster = test_description(["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"]);
        let hidden = |host: &[&str]| {
            let host: Vec<_> = host.iter().map(|network| network.parse().unwrap()).collect();
            hidden_networks(&cluster, &host)
        };
        assert_eq!(hidden(&["192.168.1.0/24", "10.55.7.7/32"]), Vec::<String>::new());
        let texts = hidden(&["10.100.7.7/32", "10.244.9.0/24", "10.88.0.0/15"]);
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[0].starts_with("the cluster's network 10.89.0.0/24 for nodes hides 10.88.0.0/15 of"));
        assert!(texts[1].starts_with("the cluster's network 10.244.0.0/16 for pods hides 10.244.9.0/24 of"));
        assert!(texts[2].contains("hides 10.100.7.7/32 of"));
    }
}
