//! Hosts on which a version cannot run, whatever parbake does.

use parbake_machine::host::{CgroupLayout, Host};
use thiserror::Error;

use super::Dialect;
use crate::description::Description;
use crate::version::KubernetesVersion;

/// A cluster that cannot run here, or not as it was asked for.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UnfitHost {
    /// The host has nothing but cgroup v2.
    #[error(
        "the kubelet of Kubernetes {0} knows only version 1 of control groups, and this host has only version 2; boot it \
         with `systemd.unified_cgroup_hierarchy=0`, or take Kubernetes 1.19 or newer"
    )]
    Cgroups(KubernetesVersion),
    /// The version has clusters of one family of addresses only.
    #[error(
        "Kubernetes {0} cannot have IPv4 and IPv6 side by side; take one of them, or Kubernetes 1.21 or newer"
    )]
    Families(KubernetesVersion),
}

impl Dialect<'_> {
    /// Whether kubelets of this version run with such control groups.
    pub(super) fn runs_with(&self, cgroups: CgroupLayout) -> Result<(), UnfitHost> {
        if cgroups == CgroupLayout::V2 && !self.knows_cgroup_v2() {
            return Err(UnfitHost::Cgroups(self.version.clone()));
        }
        Ok(())
    }
}

impl Description {
    /// Whether Kubernetes of its version can be such a cluster, on `host`.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn suits(&self, host: &Host) -> Result<(), UnfitHost> {
        self.suits_with(host.cgroups.layout)
    }

    pub(super) fn suits_with(&self, cgroups: CgroupLayout) -> Result<(), UnfitHost> {
        let dialect = self.kubernetes().dialect();
        dialect.runs_with(cgroups)?;
        if self.networks().second.is_some() && !dialect.knows_both_families() {
            return Err(UnfitHost::Families(self.kubernetes().clone()));
        }
        Ok(())
    }
}
