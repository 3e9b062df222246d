//! Checks for clusters with internet access.

use crate::Error;
use crate::host::Host;
use crate::host::tool::{Need, REQUIREMENTS, find_one};
use crate::host::trial::ProbeResult;

use super::program::program;
use super::{Check, Purpose};

/// The programs that [`crate::net::slirp`] calls.
const PROGRAMS: [&str; 2] = ["slirp4netns", "nft"];

impl Host {
    /// Checks that the host supports clusters with internet access. Searches for programs again, since cached trials may be
    /// older than they are.
    ///
    /// # Errors
    /// All checks that failed, each with its remedy.
    pub fn require_internet(&self) -> Result<(), Error> {
        let mut now = self.clone();
        for name in PROGRAMS {
            now.tools.remove(name);
            now.tools
                .extend(find_one(name).map(|tool| (name.to_owned(), tool)));
        }
        now.require(Purpose::Internet).map(drop)
    }
}

pub(super) fn checks(host: &Host) -> Vec<Check> {
    let programs = REQUIREMENTS
        .iter()
        .filter(|required| required.need == Need::Internet);
    let mut checks: Vec<Check> = programs.map(|required| program(host, required)).collect();
    checks.extend([tun(host), masquerading(host)]);
    checks
}

fn tun(host: &Host) -> Check {
    let name = "tun device";
    if host.network.tun {
        return Check::ok(name, "`/dev/net/tun`");
    }
    Check::failed(
        name,
        "there is no `/dev/net/tun`",
        "boot a kernel with CONFIG_TUN, load the module `tun`, or give the container the device",
    )
}

fn masquerading(host: &Host) -> Check {
    let name = "masquerading";
    match (&host.network.nftables, host.tools.contains_key("nft")) {
        (_, false) => Check::failed(name, "`nft` is missing", "install it: `apt-get install nftables`"),
        (ProbeResult::Failed(reason), _) => Check::failed(
            name,
            reason,
            "boot a kernel with CONFIG_NF_TABLES, CONFIG_NFT_NAT and CONFIG_NFT_MASQ",
        ),
        (ProbeResult::Works | ProbeResult::NotTried(_), true) => Check::ok(name, "works with nftables"),
    }
}
