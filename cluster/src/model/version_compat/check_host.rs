//! Clusters that cannot run on a host because of their Kubernetes version.

use parbake_machine::host::{CgroupLayout, Host};

use crate::error::Error;
use crate::model::description::Description;

impl Description {
    /// Checks that the cluster's Kubernetes version runs on `host`, and supports the cluster's networks.
    ///
    /// # Errors
    /// [`Error::CgroupVersion`] or [`Error::DualStack`].
    pub fn check_host(&self, host: &Host) -> Result<(), Error> {
        self.check_cgroups(host.cgroups.layout)
    }

    pub(super) fn check_cgroups(&self, cgroups: CgroupLayout) -> Result<(), Error> {
        let version = self.kubernetes();
        let compat = version.compat();
        if cgroups == CgroupLayout::V2 && !compat.supports_cgroup_v2() {
            return Err(Error::CgroupVersion {
                version: version.to_string(),
            });
        }
        if self.networks().second.is_some() && !compat.supports_dual_stack() {
            return Err(Error::DualStack {
                version: version.to_string(),
            });
        }
        Ok(())
    }
}
