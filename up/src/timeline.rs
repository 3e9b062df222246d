//! The timeline of a thaw: spans of parbake, of every node's units and containers, and the cluster's milestones, on one
//! clock.

mod node;
mod svg;

use std::fmt;
use std::time::Duration;

use parbake_cluster::Description;
use parbake_cluster::readiness::{Milestone, Milestones};
use parbake_machine::supervisor::Running;
use parbake_machine::timing::{MonotonicTime, Span};
use serde::Serialize;

use crate::Error;

/// Times are seconds since the start of the thaw.
#[derive(Debug, Clone, Serialize)]
pub struct Timeline {
    pub lanes: Vec<Lane>,
    pub milestones: Vec<MilestoneTime>,
}

/// Spans of one kind, such as the units of a node.
#[derive(Debug, Clone, Serialize)]
pub struct Lane {
    pub name: String,
    /// Sorted by start.
    pub spans: Vec<TimelineSpan>,
}

#[derive(Debug, Clone, Serialize)]
pub struct TimelineSpan {
    #[serde(rename = "what")]
    pub name: String,
    pub from: f64,
    pub to: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct MilestoneTime {
    #[serde(rename = "what")]
    pub name: String,
    pub after: f64,
}

impl Timeline {
    /// Collects the timeline of a cluster that has just become ready from its nodes.
    ///
    /// # Errors
    /// A node did not answer.
    pub(crate) fn collect(
        started: MonotonicTime,
        own: Vec<Span>,
        milestones: &Milestones,
        cluster: &Description,
        running: &Running,
    ) -> Result<Self, Error> {
        let mut lanes = vec![
            Lane::new("parbake", own, started),
            Lane::new("supervisor", running.state().spans.clone(), started),
        ];
        for node in cluster.nodes() {
            let name = node.name.as_str();
            lanes.push(Lane::new(
                &format!("{name}: units"),
                node::units(running, name)?,
                started,
            ));
            lanes.push(Lane::new(
                &format!("{name}: containers"),
                node::containers(running, name)?,
                started,
            ));
        }
        let milestone = |(name, after): (String, Duration)| MilestoneTime {
            name,
            after: after.as_secs_f64(),
        };
        let milestones = [
            (Milestone::Api.to_string(), milestones.api),
            (Milestone::Nodes.to_string(), milestones.nodes),
            (Milestone::Dns.to_string(), milestones.dns),
            (Milestone::Pods.to_string(), milestones.pods),
        ];
        Ok(Self {
            lanes,
            milestones: milestones.into_iter().map(milestone).collect(),
        })
    }

    /// Draws the timeline (SVG 1.1).
    pub fn svg(&self) -> String {
        svg::svg(self)
    }
}

impl Lane {
    fn new(name: &str, mut spans: Vec<Span>, started: MonotonicTime) -> Self {
        spans.sort_by_key(|span| span.from);
        let seconds = |time: MonotonicTime| time.0.as_secs_f64() - started.0.as_secs_f64();
        let timeline_span = |span: Span| TimelineSpan {
            name: span.name,
            from: seconds(span.from),
            to: seconds(span.to),
        };
        Self {
            name: name.to_owned(),
            spans: spans.into_iter().map(timeline_span).collect(),
        }
    }
}

/// One line per span.
impl fmt::Display for Timeline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:>8} {:>8}", "FROM", "TO")?;
        for lane in &self.lanes {
            writeln!(out, "{}", lane.name)?;
            for span in &lane.spans {
                writeln!(out, "{:>8.3} {:>8.3}  {}", span.from, span.to, span.name)?;
            }
        }
        writeln!(out, "milestones")?;
        for milestone in &self.milestones {
            writeln!(out, "{:>8} {:>8.3}  {}", "", milestone.after, milestone.name)?;
        }
        Ok(())
    }
}
