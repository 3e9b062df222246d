//! The things that are measured of a start.

use std::fmt;

use parbake_cluster::readiness::Milestones;
use serde::{Serialize, Serializer};

use crate::output::size;

/// A thing that is measured. Times are counted from the start of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// `/readyz` said ok.
    Api,
    /// All nodes were ready.
    Nodes,
    /// The cluster's DNS answered on all nodes, through its service address.
    Dns,
    /// It answered in a pod on each node.
    PodDns,
    /// All pods were ready.
    Pods,
    /// Everything was, in one look.
    Ready,
    /// A new deployment's first pod was reached through its service.
    FirstPod,
    /// Processor time of all machines until everything was ready.
    MachineCpu,
    /// Processor time of parbake itself until then.
    OwnCpu,
    /// Memory that the kernel charges to the cluster when it is ready, the page cache that it filled first included.
    Memory,
    /// The part of it that is no file's.
    Anonymous,
    /// Disk that the cluster's own files take once its first pod runs.
    Disk,
}

/// What a number of a measure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Unit {
    Seconds,
    Bytes,
}

/// What was measured of one start of one cluster. Not every side has everything.
pub(super) type Sample = Vec<(Measure, f64)>;

impl Measure {
    pub(super) const ALL: [Self; 12] = [
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

    pub(super) fn unit(self) -> Unit {
        match self {
            Self::Memory | Self::Anonymous | Self::Disk => Unit::Bytes,
            _ => Unit::Seconds,
        }
    }
}

impl Unit {
    /// A value for people, such as `2.31 s` or `305.20 MB`.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => size(value.round() as u64),
        }
    }
}

impl fmt::Display for Measure {
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

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The events on the way of a cluster that had pods before it was started.
pub(super) fn events(times: &Milestones) -> Sample {
    let events = [
        (Measure::Api, times.api),
        (Measure::Nodes, times.nodes),
        (Measure::Dns, times.dns),
        (Measure::Pods, times.pods),
        (Measure::Ready, times.ready),
    ];
    events.map(|(measure, time)| (measure, time.as_secs_f64())).into()
}

#[cfg(test)]
mod tests {
    use super::{Measure, Unit};

    #[test]
    fn every_measure_is_listed_once_and_in_order() {
        for (place, measure) in Measure::ALL.into_iter().enumerate() {
            assert_eq!(measure as usize, place, "{measure}");
        }
    }

    #[test]
    fn values_are_shown_in_their_unit() {
        assert_eq!(Measure::Api.unit().show(2.306), "2.31 s");
        assert_eq!(Unit::Bytes.show(305_200_000.0), "305.20 MB");
    }
}
