//! Which hosts are reached without a proxy.

use std::net::IpAddr;

use ipnet::IpNet;
use reqwest::Url;

/// The value of `NO_PROXY`, as Go and curl read it: names, addresses and networks, separated by commas or spaces, each
/// with or without a port. A name matches its subdomains, too. `*` matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoProxy(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    host: Host,
    /// `None` matches every port.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    All,
    Network(IpNet),
    /// In lower case, without a leading dot.
    Domain(String),
}

impl NoProxy {
    pub(super) fn parse(text: &str) -> Self {
        let words = text.split(|letter: char| letter == ',' || letter.is_whitespace());
        Self(words.filter(|word| !word.is_empty()).map(Entry::parse).collect())
    }

    /// True if `url` is reached without a proxy. So is every loopback address.
    pub(super) fn matches(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return true };
        let host = host.trim_end_matches('.').to_lowercase();
        let address = address(&host);
        let is_loopback = match address {
            Some(address) => address.is_loopback(),
            None => host == "localhost" || host.ends_with(".localhost"),
        };
        let port = url.port_or_known_default();
        let entry = |entry: &Entry| {
            entry.host.matches(&host, address) && (entry.port.is_none() || entry.port == port)
        };
        is_loopback || self.0.iter().any(entry)
    }
}

impl Entry {
    fn parse(word: &str) -> Self {
        let host = |text: &str| match (text, network(text)) {
            ("*", _) => Host::All,
            (_, Some(network)) => Host::Network(network),
            _ => Host::Domain(domain(text)),
        };
        // An IPv6 address has colons, but no port.
        let split = match network(word) {
            Some(_) => None,
            None => word.rsplit_once(':'),
        };
        match split.and_then(|(name, port)| Some((name, port.parse().ok()?))) {
            Some((name, port)) => Self {
                host: host(name),
                port: Some(port),
            },
            None => Self {
                host: host(word),
                port: None,
            },
        }
    }
}

impl Host {
    fn matches(&self, host: &str, address: Option<IpAddr>) -> bool {
        match self {
            Self::All => true,
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Domain(domain) => host
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
        }
    }
}

fn domain(text: &str) -> String {
    let text = text.strip_prefix('*').unwrap_or(text);
    text.trim_matches('.').to_lowercase()
}

/// An address, with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address: IpAddr = inner.unwrap_or(text).parse().ok()?;
    Some(address.to_canonical())
}

fn network(text: &str) -> Option<IpNet> {
    address(text).map(IpNet::from).or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::NoProxy;

    fn is_direct(list: &str, url: &str) -> bool {
        NoProxy::parse(list).matches(&Url::parse(url).unwrap())
    }

    #[test]
    fn names_match_subdomains() {
        for list in [
            "example.org",
            ".example.org",
            "*.example.org",
            "EXAMPLE.org.",
            "a, example.org",
        ] {
            assert!(is_direct(list, "https://hub.example.org/v2/"), "{list}");
            assert!(!is_direct(list, "https://notexample.org"), "{list}");
        }
        assert!(is_direct("x example.org", "https://example.org."));
    }

    #[test]
    fn addresses_and_networks_match_addresses() {
        assert!(is_direct("10.0.0.0/8,192.168.1.1", "http://10.1.2.3:5000"));
        assert!(is_direct("10.0.0.0/8,192.168.1.1", "http://192.168.1.1"));
        assert!(!is_direct("10.0.0.0/8,192.168.1.1", "http://192.168.1.2"));
        for list in ["fd00::/8", "fd00::1", "[fd00::1]", "[fd00::1]:5000"] {
            assert!(is_direct(list, "http://[fd00::1]:5000"), "{list}");
            assert!(!is_direct(list, "http://[fe80::1]:5000"), "{list}");
        }
    }

    #[test]
    fn port_restricts_an_entry() {
        assert!(is_direct("example.org:5000", "http://example.org:5000"));
        assert!(is_direct("example.org:443", "https://example.org"));
        assert!(!is_direct("example.org:5000", "https://example.org"));
        assert!(is_direct("10.0.0.1:80", "http://10.0.0.1/"));
        assert!(!is_direct("[fd00::1]:5001", "http://[fd00::1]:5000"));
    }

    #[test]
    fn asterisk_matches_everything_and_loopback_always_matches() {
        assert!(is_direct("*", "https://example.org"));
        assert!(!is_direct("", "https://example.org"));
        for url in [
            "http://localhost:5000",
            "http://127.1.2.3",
            "http://[::1]:5000",
            "http://x.localhost",
        ] {
            assert!(is_direct("", url), "{url}");
        }
    }
}
