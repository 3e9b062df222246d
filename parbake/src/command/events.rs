//! `parbake events`

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use parbake_up::ClusterName;
use parbake_up::events::{Event, Tail};

use super::artifact::prune::age;
use crate::cli::Global;
use crate::output::{self, Format, table};

/// The time between two looks with `--follow`.
const PAUSE: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  parbake events                        of the cluster `default`, those before its `down` too
  parbake events --all --since 2h       of all clusters and artifacts
  parbake events --follow --output json as they happen, an object in each line

They are kept in DIR/events.jsonl and, once that has grown to 1 MiB, in DIR/events.old.jsonl. What
happens in Kubernetes is told by `parbake kubectl get events`.";

/// Show what parbake did: clusters that started, stopped or failed, nodes that came and went
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Go on with what comes; as JSON with an object in each line
    #[arg(short, long)]
    follow: bool,
    /// Those of all clusters, and of artifacts
    #[arg(long)]
    all: bool,
    /// Only what is not older, such as 10m, 2h or 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    since: Option<SignedDuration>,
}

/// Which events are meant.
struct Wanted<'a> {
    cluster: Option<&'a ClusterName>,
    since: Option<Timestamp>,
}

impl Wanted<'_> {
    fn has(&self, event: &Event) -> bool {
        let own = self
            .cluster
            .is_none_or(|name| event.cluster.as_ref() == Some(name));
        own && self.since.is_none_or(|since| event.time >= since)
    }
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let since = self.since.map(|age| Timestamp::now().checked_sub(age));
        let wanted = Wanted {
            cluster: (!self.all).then_some(&global.name),
            since: since.transpose().context("could not count back so far")?,
        };
        if self.follow {
            return follow(&global.dir, &wanted, global.output);
        }
        let mut events = Tail::from_the_beginning(&global.dir).more();
        events.retain(|event| wanted.has(event));
        output::print(global.output, &events, |events| text(events, self.all))
    }
}

fn follow(dir: &Path, wanted: &Wanted<'_>, format: Format) -> anyhow::Result<()> {
    let mut tail = Tail::from_the_beginning(dir);
    loop {
        for event in tail.more().iter().filter(|event| wanted.has(event)) {
            let line = match format {
                Format::Text => line(event),
                Format::Json => serde_json::to_string(event).context("could not turn an event into JSON")?,
            };
            if !output::written(format!("{line}\n").as_bytes())? {
                return Ok(());
            }
        }
        thread::sleep(PAUSE);
    }
}

fn line(event: &Event) -> String {
    let [time, cluster, what] = row(event);
    format!("{time}  {cluster}  {what}")
}

fn text(events: &[Event], all: bool) -> String {
    match events {
        [] if all => "no events\n".to_owned(),
        [] => "no events of this cluster; `--all` shows those of all\n".to_owned(),
        events => table(["TIME", "CLUSTER", "EVENT"], events.iter().map(row)),
    }
}

fn row(event: &Event) -> [String; 3] {
    let cluster = event.cluster.as_ref().map_or("-", ClusterName::as_str);
    let time = event.time.strftime("%Y-%m-%dT%H:%M:%SZ");
    [time.to_string(), cluster.to_owned(), event.what.to_string()]
}

#[cfg(test)]
mod tests {
    use parbake_up::events::Event;

    use super::{Wanted, line, text};

    fn events() -> Vec<Event> {
        let lines = [
            r#"{"time":"2026-03-01T10:00:00Z","event":"baked","artifact":"k8s"}"#,
            r#"{"time":"2026-03-01T10:00:01.25Z","cluster":"ci","event":"starting","nodes":1}"#,
            r#"{"time":"2026-03-01T10:00:05Z","cluster":"default","event":"paused"}"#,
        ];
        lines.map(|line| serde_json::from_str(line).unwrap()).into()
    }

    #[test]
    fn an_event_is_a_row() {
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
    fn events_are_picked_by_cluster_and_time() {
        let ci = "ci".parse().unwrap();
        let cases = [
            (None, None, [true, true, true]),
            (Some(&ci), None, [false, true, false]),
            (None, Some("2026-03-01T10:00:01.25Z"), [false, true, true]),
            (Some(&ci), Some("2026-03-01T10:00:02Z"), [false, false, false]),
        ];
        for (cluster, since, expected) in cases {
            let since = since.map(|time| time.parse().unwrap());
            let wanted = Wanted { cluster, since };
            let picked: Vec<bool> = events().iter().map(|event| wanted.has(event)).collect();
            assert_eq!(picked, expected, "{cluster:?} {since:?}");
        }
    }
}
