//! The kernel's switches of one network namespace, below `/proc/sys/net`.

use std::fs;
use std::io;
use std::path::Path;

const IPV4: &str = "/proc/sys/net/ipv4";
const IPV6: &str = "/proc/sys/net/ipv6";

/// What is set in IPv4. A refusal that is held back by a rate limit is as bad as none.
const FOR_IPV4: [(&str, &str); 3] = [
    ("ip_forward", "1"),
    ("conf/all/send_redirects", "0"),
    ("icmp_ratelimit", "0"),
];
/// What is set in IPv6 for all interfaces, those that are there and those to come. Addresses are of a plan: nobody looks
/// for duplicates of them or asks routers for more.
const OF_INTERFACES: [(&str, &str); 5] = [
    ("disable_ipv6", "0"),
    ("forwarding", "1"),
    ("accept_dad", "0"),
    ("accept_ra", "0"),
    ("accept_redirects", "0"),
];

/// Sets the switches of the namespace that the calling thread is in, which is new; IPv6 is on or off.
pub(super) fn set_switches(ipv6: bool) -> io::Result<()> {
    for (switch, value) in FOR_IPV4 {
        fs::write(Path::new(IPV4).join(switch), value)?;
    }
    let interfaces = Path::new(IPV6).join("conf");
    if !ipv6 {
        // Link-local addresses alone would be waited for by whoever waits for addresses.
        for scope in ["all", "default"] {
            let switch = interfaces.join(scope).join("disable_ipv6");
            if fs::exists(&switch)? {
                fs::write(switch, "1")?;
            }
        }
        return Ok(());
    }
    if !fs::exists(&interfaces)? {
        return Err(io::Error::other(
            "this host's kernel has no IPv6, or was started without",
        ));
    }
    for interface in fs::read_dir(&interfaces)? {
        let interface = interface?.path();
        for (switch, value) in OF_INTERFACES {
            fs::write(interface.join(switch), value)?;
        }
    }
    fs::write(Path::new(IPV6).join("icmp/ratelimit"), "0")
}
