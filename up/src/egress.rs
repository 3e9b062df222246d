//! Whether a way to the outside is of use to a cluster.

use parbake_cluster::Description;

use crate::Error;

/// Refuses the way out that was asked for where nobody in the cluster could take it: it leads out in IPv4.
pub(crate) fn leads_out(internet: bool, cluster: &Description) -> Result<(), Error> {
    match internet && !cluster.networks().has_ipv4() {
        true => Err(Error::InternetNeedsIpv4),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use parbake_cluster::{ClusterDomain, NodeName, Role, Subnets};

    use super::leads_out;

    #[test]
    fn ipv6_alone_has_no_way_out() {
        let one = [(NodeName::numbered(1), Role::ControlPlane)];
        for (networks, refused) in [
            (["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"], false),
            (["fd00:10:89::/64", "fd00:10:244::/56", "fd00:10:96::/112"], true),
        ] {
            let [nodes, pods, services] = networks.map(|network| network.parse().unwrap());
            let subnets = Subnets {
                nodes,
                pods,
                services,
            };
            let cluster = subnets.describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &one);
            let cluster = cluster.unwrap();
            assert!(leads_out(false, &cluster).is_ok());
            assert_eq!(leads_out(true, &cluster).is_err(), refused);
        }
    }
}
