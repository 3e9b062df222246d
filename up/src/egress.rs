//! Access of a cluster to other networks (`--internet`).

use parbake_cluster::Description;

use crate::error::Error;

/// Checks that a cluster can use `--internet`, which provides IPv4 only.
pub(crate) fn require_ipv4(cluster: &Description) -> Result<(), Error> {
    match cluster.networks().has_ipv4() {
        true => Ok(()),
        false => Err(Error::InternetNeedsIpv4),
    }
}

#[cfg(test)]
mod tests {
    use super::require_ipv4;
    use crate::state::test_description;

    #[test]
    fn ipv6_only_cluster_has_no_internet_access() {
        let ipv4 = test_description(["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"]);
        assert!(require_ipv4(&ipv4).is_ok());
        let ipv6 = test_description(["fd00:10:89::/64", "fd00:10:244::/56", "fd00:10:96::/112"]);
        assert!(require_ipv4(&ipv6).is_err());
    }
}
