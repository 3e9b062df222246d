//! What is measured of a start.

use std::fmt;

use parbake_cluster::readiness::Milestones;
use serde::{Serialize, Serializer};

use crate::format::size;

/// A measured quantity. Times are counted from the start of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// `/readyz` returned ok.
    Api,
    /// All nodes were ready.
    Nodes,
    /// The cluster DNS answered on all nodes, through its service address.
    Dns,
    /// DNS answered in a pod on each node.
    PodDns,
    /// All pods were ready.
    Pods,
    /// Everything was ready at the same time.
    Ready,
    /// The first pod of a new deployment answered through its service.
    FirstPod,
    /// CPU time of all machines until everything was ready.
    MachineCpu,
    /// CPU time of parbake itself until everything was ready.
    OwnCpu,
    /// Memory charged to the cluster when it is ready, including page cache that it was first to fill.
    Memory,
    /// The anonymous part of [`Self::Memory`].
    Anonymous,
    /// Disk usage of the cluster's own files when its first pod runs.
    Disk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    Seconds,
    Bytes,
}

/// The measurements of one start of one cluster. Contenders may lack some.
pub(crate) type Sample = Vec<(Metric, f64)>;

impl Metric {
    pub(crate) const ALL: [Self; 12] = [
        Self::Api,
        Self::Nodes,
        Self::Dns,
        Self::PodDns,
        Self::Pods,
        Self::Ready,
        Self::FirstPod,
        Self::MachineCpu,
        Self::OwnCpu,
        Self::Memory,
        Self::Anonymous,
        Self::Disk,
    ];

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Memory | Self::Anonymous | Self::Disk => Unit::Bytes,
            _ => Unit::Seconds,
        }
    }
}

impl Unit {
    /// Formats a value, such as `2.31 s` or `305.20 MB`.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => size(value.round() as u64),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Api => "/readyz",
            Self::Nodes => "nodes ready",
            Self::Dns => "DNS answers",
            Self::PodDns => "DNS in pods",
            Self::Pods => "pods ready",
            Self::Ready => "all ready",
            Self::FirstPod => "first pod",
            Self::MachineCpu => "CPU of machines",
            Self::OwnCpu => "CPU of parbake",
            Self::Memory => "memory",
            Self::Anonymous => "memory, anonymous",
            Self::Disk => "disk",
        })
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The milestones of a cluster that had pods before it was started.
pub(crate) fn milestones(times: &Milestones) -> Sample {
    let milestones = [
        (Metric::Api, times.api),
        (Metric::Nodes, times.nodes),
        (Metric::Dns, times.dns),
        (Metric::Pods, times.pods),
        (Metric::Ready, times.ready),
    ];
    milestones
        .map(|(metric, time)| (metric, time.as_secs_f64()))
        .into()
}

#[cfg(test)]
mod tests {
    use super::{Metric, Unit};

    #[test]
    fn all_lists_every_metric_once_in_order() {
        for (index, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric as usize, index, "{metric}");
        }
    }

    #[test]
    fn values_are_formatted_in_their_unit() {
        assert_eq!(Metric::Api.unit().show(2.306), "2.31 s");
        assert_eq!(Unit::Bytes.show(305_200_000.0), "305.20 MB");
    }
}
