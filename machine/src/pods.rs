//! Pods on a machine, as far as they have a network.

use std::fs;
use std::io;

use crate::netns::NetNs;
use crate::pid::ProcessId;

/// The pods on a machine.
#[derive(Debug, Clone, Copy)]
pub struct Pods(pub(crate) ProcessId);

impl Pods {
    /// The network namespaces of those that have one of their own now: in `/run/netns`, where runtimes put what
    /// they hand to network plugins (CNI specification 1.0, parameter `CNI_NETNS`).
    ///
    /// # Errors
    /// The machine has ended, or its files cannot be read.
    pub fn networks(&self) -> io::Result<Vec<NetNs>> {
        let entries = match fs::read_dir(format!("/proc/{}/root/run/netns", self.0.pid)) {
            Ok(entries) => entries,
            // Made with the first of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.0.is_alive() => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        // One that is just being made or removed is none.
        let open = |entry: io::Result<fs::DirEntry>| NetNs::at(&entry.ok()?.path()).ok();
        Ok(entries.filter_map(open).collect())
    }
}
