//! The spans of a node's start: units from its service manager, containers from its runtime.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parbake_machine::supervisor::Running;
use parbake_machine::timing::{MonotonicTime, Span};
use serde_json::Value;

use crate::Error;

/// Shorter starts of units are left out: most are too short to be drawn.
const MIN_SPAN: Duration = Duration::from_millis(5);

/// For each service of the node, the time from the start of its activation until it was active.
pub(super) fn units(running: &Running, node: &str) -> Result<Vec<Span>, Error> {
    let properties = "--property=Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic";
    let show = ["systemctl", "show", properties, "*.service"];
    let output = running.command(node, show)?.run()?;
    Ok(read_units(&output.stdout))
}

/// Parses blocks of `NAME=VALUE` lines, separated by an empty line. Times are microseconds.
fn read_units(text: &str) -> Vec<Span> {
    let unit = |block: &str| {
        let value = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        };
        let time = |name: &str| -> Option<MonotonicTime> {
            let micros = value(name)?.parse().ok().filter(|micros| *micros > 0)?;
            Some(MonotonicTime(Duration::from_micros(micros)))
        };
        let span = Span {
            name: value("Id")?.trim_end_matches(".service").to_owned(),
            from: time("InactiveExitTimestampMonotonic")?,
            to: time("ActiveEnterTimestampMonotonic")?,
        };
        (span.to.0.saturating_sub(span.from.0) >= MIN_SPAN).then_some(span)
    };
    text.split("\n\n").filter_map(unit).collect()
}

/// For each container of the node, the time from the creation of its pod's sandbox until it ran.
pub(super) fn containers(running: &Running, node: &str) -> Result<Vec<Span>, Error> {
    let crictl = |args: &[&str]| -> Result<Vec<Value>, Error> {
        let command = [&["crictl", "--timeout=30s"], args].concat();
        let output = running.command(node, command)?.run()?;
        Ok(output.parse(parse_json)?)
    };
    let pods = crictl(&["pods", "--output=json"])?;
    let list = crictl(&["ps", "--all", "--output=json"])?;
    let ids: Vec<String> = items(&list, "containers")
        .filter_map(|container| Some(container["id"].as_str()?.to_owned()))
        .collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let details = crictl(&[&["inspect", "--output=json"], ids.as_slice()].concat())?;
    let boot = boot_time();
    let spans = details
        .iter()
        .filter_map(|container| span(container, &pods, boot));
    Ok(spans.collect())
}

fn items<'a>(documents: &'a [Value], list: &'a str) -> impl Iterator<Item = &'a Value> {
    documents
        .iter()
        .filter_map(move |document| document[list].as_array())
        .flatten()
}

fn span(container: &Value, pods: &[Value], boot: Duration) -> Option<Span> {
    let sandbox = container["info"]["sandboxID"].as_str()?;
    let pod = items(pods, "items").find(|pod| pod["id"] == sandbox)?;
    let created: u64 = pod["createdAt"].as_str()?.parse().ok()?;
    let started: jiff::Timestamp = container["status"]["startedAt"].as_str()?.parse().ok()?;
    let monotonic = |since_epoch: Duration| MonotonicTime(since_epoch.saturating_sub(boot));
    Some(Span {
        name: pod["metadata"]["name"].as_str()?.to_owned(),
        from: monotonic(Duration::from_nanos(created)),
        to: monotonic(Duration::from_nanos(started.as_nanosecond().try_into().ok()?)),
    })
}

/// The host's boot time on the wall clock.
fn boot_time() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(MonotonicTime::now().0)
}

/// Parses concatenated JSON documents or arrays of them: versions of crictl differ.
fn parse_json(text: &str) -> Result<Vec<Value>, serde_json::Error> {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut values = Vec::new();
    for document in documents {
        match document? {
            Value::Array(all) => values.extend(all),
            one => values.push(one),
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{parse_json, read_units, span};

    #[test]
    fn inactive_and_short_units_are_left_out() {
        let text = "Id=a.service\nInactiveExitTimestampMonotonic=1000000\nActiveEnterTimestampMonotonic=1250000\n\n\
                    Id=b.service\nInactiveExitTimestampMonotonic=0\nActiveEnterTimestampMonotonic=0\n\n\
                    Id=c.service\nInactiveExitTimestampMonotonic=7\nActiveEnterTimestampMonotonic=8\n";
        let spans = read_units(text);
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].name, "a");
        assert_eq!(spans[0].to.0 - spans[0].from.0, Duration::from_millis(250));
    }

    #[test]
    fn container_span_starts_with_its_sandbox() {
        let pods = [json!({ "items": [
            { "id": "s", "metadata": { "name": "etcd-node01" }, "createdAt": "1000000000" },
        ] })];
        let container = json!({
            "info": { "sandboxID": "s" }, "status": { "startedAt": "1970-01-01T00:00:03.5Z" },
        });
        let span = span(&container, &pods, Duration::from_millis(500)).unwrap();
        assert_eq!(span.name, "etcd-node01");
        assert_eq!(span.from.0, Duration::from_millis(500));
        assert_eq!(span.to.0, Duration::from_secs(3));
    }

    #[test]
    fn json_arrays_and_concatenated_documents_are_parsed() {
        assert_eq!(parse_json("{} {}").unwrap().len(), 2);
        assert_eq!(parse_json("[{}, {}, {}]").unwrap().len(), 3);
        assert!(parse_json("{").is_err());
    }
}
