//! The kernel parameters of a cluster's network namespaces.

use std::fs;
use std::io;
use std::path::Path;

use crate::net::sysctl;

/// An error message that is held back by a rate limit would cost the sender a timeout.
const IPV4: [(&str, &str); 3] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/icmp_ratelimit", "0"),
];
/// Set for all IPv6 interfaces, existing and future ones. Addresses are planned: no duplicate address detection, no router
/// advertisements.
const IPV6_INTERFACES: [(&str, &str); 5] = [
    ("disable_ipv6", "0"),
    ("forwarding", "1"),
    ("accept_dad", "0"),
    ("accept_ra", "0"),
    ("accept_redirects", "0"),
];

/// Sets the parameters of the calling thread's namespace, which is new, with or without IPv6.
pub(super) fn set_all(ipv6: bool) -> io::Result<()> {
    let set = |name: &str, value: &str| sysctl::set(name, value).map_err(io::Error::other);
    for (name, value) in IPV4 {
        set(name, value)?;
    }
    let interfaces = Path::new("/proc/sys/net/ipv6/conf");
    if !ipv6 {
        // Programs that wait for addresses would wait for link-local ones.
        for scope in ["all", "default"] {
            if interfaces.join(scope).join("disable_ipv6").exists() {
                set(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
            }
        }
        return Ok(());
    }
    if !fs::exists(interfaces)? {
        return Err(io::Error::other(
            "the kernel of this host has no IPv6, or it is disabled",
        ));
    }
    for interface in fs::read_dir(interfaces)? {
        let interface = interface?.file_name();
        for (name, value) in IPV6_INTERFACES {
            set(&format!("net/ipv6/conf/{}/{name}", interface.display()), value)?;
        }
    }
    set("net/ipv6/icmp/ratelimit", "0")
}
