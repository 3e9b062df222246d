//! `parbake events`

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use parbake_up::ClusterName;
use parbake_up::events::{Event, Tail};

use crate::args::{ClusterArgs, GlobalArgs, age};
use crate::output::{self, Format, table};

/// How often `--follow` looks for new events.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  parbake events                        cluster `default`, including former clusters of this name
  parbake events --all --since 2h       all clusters and artifacts
  parbake events --follow --output json as they happen, one JSON object per line

Events are kept in DIR/events.jsonl and DIR/events.old.jsonl, of up to 1 MiB each. For events in
Kubernetes, see `parbake kubectl get events`.";

/// Show the event log: clusters that started, stopped or failed, nodes that joined or left
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Keep printing new events; JSON as one object per line
    #[arg(short, long)]
    follow: bool,
    /// Show the events of all clusters and artifacts
    #[arg(long)]
    all: bool,
    /// Only events newer than this, such as 10m, 2h or 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    since: Option<SignedDuration>,
}

/// Selects events.
struct Filter<'a> {
    cluster: Option<&'a ClusterName>,
    since: Option<Timestamp>,
}

impl Filter<'_> {
    fn matches(&self, event: &Event) -> bool {
        let cluster_matches = self
            .cluster
            .is_none_or(|name| event.cluster.as_ref() == Some(name));
        cluster_matches && self.since.is_none_or(|since| event.time >= since)
    }
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let since = self.since.map(|age| Timestamp::now().checked_sub(age));
        let filter = Filter {
            cluster: (!self.all).then_some(&self.cluster.name),
            since: since.transpose().context("`--since` is out of range")?,
        };
        if self.follow {
            return follow(&global.dir, &filter, global.output);
        }
        let mut events = Tail::from_start(&global.dir).read_new();
        events.retain(|event| filter.matches(event));
        output::print(global.output, &events, |events| text(events, self.all))
    }
}

fn follow(dir: &Path, filter: &Filter<'_>, format: Format) -> anyhow::Result<()> {
    let mut tail = Tail::from_start(dir);
    loop {
        for event in tail.read_new().iter().filter(|event| filter.matches(event)) {
            if !output::print_line(format, event, |event| line(event) + "\n")? {
                return Ok(());
            }
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn line(event: &Event) -> String {
    let [time, cluster, what] = row(event);
    format!("{time}  {cluster}  {what}")
}

fn text(events: &[Event], all: bool) -> String {
    match events {
        [] if all => "no events\n".to_owned(),
        [] => "no events of this cluster; `--all` shows those of all clusters\n".to_owned(),
        events => table(["TIME", "CLUSTER", "EVENT"], events.iter().map(row)),
    }
}

fn row(event: &Event) -> [String; 3] {
    let cluster = event.cluster.as_ref().map_or("-", ClusterName::as_str);
    let time = event.time.strftime("%Y-%m-%dT%H:%M:%SZ");
    [time.to_string(), cluster.to_owned(), event.kind.to_string()]
}

#[cfg(test)]
mod tests {
    use parbake_up::events::Event;

    use super::{Filter, line, text};

    fn events() -> Vec<Event> {
        let lines = [
            r#"{"time":"2026-03-01T10:00:00Z","event":"baked","artifact":"k8s"}"#,
            r#"{"time":"2026-03-01T10:00:01.25Z","cluster":"ci","event":"starting","nodes":1}"#,
            r#"{"time":"2026-03-01T10:00:05Z","cluster":"default","event":"paused"}"#,
        ];
        lines.map(|line| serde_json::from_str(line).unwrap()).into()
    }

    #[test]
    fn every_event_is_a_row() {
        let events = events();
        assert_eq!(
            text(&events[..2], true),
            "TIME                  CLUSTER  EVENT\n\
             2026-03-01T10:00:00Z  -        k8s was baked\n\
             2026-03-01T10:00:01Z  ci       starts with 1 node\n"
        );
        assert_eq!(line(&events[2]), "2026-03-01T10:00:05Z  default  paused");
        assert_eq!(text(&[], true), "no events\n");
        assert!(text(&[], false).contains("--all"));
    }

    #[test]
    fn events_are_filtered_by_cluster_and_time() {
        let ci = "ci".parse().unwrap();
        let cases = [
            (None, None, [true, true, true]),
            (Some(&ci), None, [false, true, false]),
            (None, Some("2026-03-01T10:00:01.25Z"), [false, true, true]),
            (Some(&ci), Some("2026-03-01T10:00:02Z"), [false, false, false]),
        ];
        for (cluster, since, expected) in cases {
            let since = since.map(|time| time.parse().unwrap());
            let filter = Filter { cluster, since };
            let matching: Vec<bool> = events().iter().map(|event| filter.matches(event)).collect();
            assert_eq!(matching, expected, "{cluster:?} {since:?}");
        }
    }
}
