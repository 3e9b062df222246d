//! Where the time of a thaw went: what parbake did, what each node's units and containers did, and when the cluster
//! passed which milestone, on one clock.

mod node;
mod svg;

use std::fmt;
use std::time::Duration;

use parbake_cluster::Description;
use parbake_cluster::readiness::{Milestone, Milestones};
use parbake_machine::handle::Running;
use parbake_machine::timing::{MonotonicTime, Span};
use serde::Serialize;

use crate::Error;

/// What took from when until when, counted from the start of the thaw.
#[derive(Debug, Clone, Serialize)]
pub struct Timeline {
    /// Spans by lane, in the order of their beginnings.
    pub lanes: Vec<Lane>,
    /// When the cluster passed which milestone.
    pub milestones: Vec<MilestoneTime>,
}

/// Spans of one kind, such as the units of a node.
#[derive(Debug, Clone, Serialize)]
pub struct Lane {
    /// Whose spans these are.
    pub name: String,
    /// The spans, in the order of their beginnings.
    pub spans: Vec<TimelineSpan>,
}

/// A span of a timeline.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineSpan {
    /// What it was.
    pub what: String,
    /// When it began, in seconds.
    pub from: f64,
    /// When it ended, in seconds.
    pub to: f64,
}

/// A milestone of a timeline.
#[derive(Debug, Clone, Serialize)]
pub struct MilestoneTime {
    /// Its name.
    pub what: String,
    /// When it was passed, in seconds.
    pub after: f64,
}

impl Timeline {
    /// Puts the timeline of a cluster that has just become ready together: asks its nodes.
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
        let passed = |(what, after): (String, Duration)| MilestoneTime {
            what,
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
            milestones: milestones.into_iter().map(passed).collect(),
        })
    }

    /// The timeline as a picture (Scalable Vector Graphics 1.1).
    pub fn svg(&self) -> String {
        svg::svg(self)
    }
}

impl Lane {
    fn new(name: &str, mut spans: Vec<Span>, started: MonotonicTime) -> Self {
        spans.sort_by_key(|span| span.from);
        let after = |moment: MonotonicTime| moment.0.as_secs_f64() - started.0.as_secs_f64();
        let stretch = |span: Span| TimelineSpan {
            what: span.what,
            from: after(span.from),
            to: after(span.to),
        };
        Self {
            name: name.to_owned(),
            spans: spans.into_iter().map(stretch).collect(),
        }
    }
}

/// A line for each span, in seconds.
impl fmt::Display for Timeline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:>8} {:>8}", "FROM", "TO")?;
        for lane in &self.lanes {
            writeln!(out, "{}", lane.name)?;
            for span in &lane.spans {
                writeln!(out, "{:>8.3} {:>8.3}  {}", span.from, span.to, span.what)?;
            }
        }
        writeln!(out, "milestones")?;
        for passed in &self.milestones {
            writeln!(out, "{:>8} {:>8.3}  {}", "", passed.after, passed.what)?;
        }
        Ok(())
    }
}
