//! Appending to the log, and rotating it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::{Event, FILE, FORMER};

/// Size in bytes at which the log is rotated.
const ROTATE_AT: u64 = 1 << 20;

/// Appends `event` to the log in `dir`, which must exist.
pub(super) fn append(dir: &Path, event: &Event) -> io::Result<()> {
    append_within(dir, event, ROTATE_AT)
}

fn append_within(dir: &Path, event: &Event, limit: u64) -> io::Result<()> {
    let mut file = open(dir)?;
    if file.metadata()?.len() >= limit {
        rotate(dir, &file)?;
        file = open(dir)?;
    }
    let mut line = String::new();
    // A crash truncated the last line. This event must not be lost with it.
    if !ends_with_newline(&file)? {
        line.push('\n');
    }
    line.push_str(&serde_json::to_string(event)?);
    line.push('\n');
    file.write_all(line.as_bytes())
}

fn open(dir: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(dir.join(FILE))
}

fn ends_with_newline(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok(last == *b"\n")
}

/// Rotates the log, unless another process is doing so or has done so already.
fn rotate(dir: &Path, full: &File) -> io::Result<()> {
    if flock(full, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let path = dir.join(FILE);
    let current = match fs::metadata(&path) {
        Ok(current) => current,
        // Another process rotated it and has not created the new file yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if current.ino() == full.metadata()?.ino() {
        fs::rename(&path, dir.join(FORMER))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;
    use std::thread;

    use super::{append_within, rotate};
    use crate::events::{Event, EventKind, FILE, FORMER, Log, Tail};

    fn event(node: usize) -> Event {
        serde_json::from_str(&format!(
            r#"{{"time":"2026-03-01T10:00:00Z","cluster":"ci","event":"starting","nodes":{node}}}"#
        ))
        .unwrap()
    }

    fn nodes(dir: &Path) -> Vec<usize> {
        let events = Tail::from_start(dir).read_new();
        let number = |event: Event| match event.kind {
            EventKind::Starting { nodes } => nodes,
            other => panic!("{other:?}"),
        };
        events.into_iter().map(number).collect()
    }

    #[test]
    fn log_size_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..100 {
            append_within(dir.path(), &event(number), 500).unwrap();
        }
        let sizes = [FILE, FORMER].map(|name| fs::metadata(dir.path().join(name)).unwrap().len());
        assert!(sizes.iter().all(|size| *size < 600), "{sizes:?}");
        let kept = nodes(dir.path());
        assert!(kept.len() >= 5 && kept.last() == Some(&99), "{kept:?}");
        assert!(kept.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{kept:?}");
    }

    #[test]
    fn late_writer_does_not_rotate_again() {
        let dir = tempfile::tempdir().unwrap();
        append_within(dir.path(), &event(1), 1000).unwrap();
        let full = File::open(dir.path().join(FILE)).unwrap();
        rotate(dir.path(), &full).unwrap();
        append_within(dir.path(), &event(2), 1000).unwrap();
        rotate(dir.path(), &full).unwrap();
        assert_eq!(nodes(dir.path()), [1, 2]);
        // Nor before the new file exists.
        fs::remove_file(dir.path().join(FILE)).unwrap();
        rotate(dir.path(), &full).unwrap();
        assert_eq!(nodes(dir.path()), [1]);
    }

    #[test]
    fn truncated_line_does_not_affect_the_next() {
        let dir = tempfile::tempdir().unwrap();
        append_within(dir.path(), &event(1), 1000).unwrap();
        let mut file = File::options().append(true).open(dir.path().join(FILE)).unwrap();
        file.write_all(br#"{"time":"2026-"#).unwrap();
        assert_eq!(nodes(dir.path()), [1]);
        append_within(dir.path(), &event(2), 1000).unwrap();
        assert_eq!(nodes(dir.path()), [1, 2]);
    }

    #[test]
    fn concurrent_writers_do_not_mix_lines() {
        let dir = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            for writer in 0..4 {
                let dir = dir.path();
                scope.spawn(move || {
                    for number in 0..50 {
                        append_within(dir, &event(writer * 50 + number), 2000).unwrap();
                    }
                });
            }
        });
        let text = [FORMER, FILE].map(|name| fs::read_to_string(dir.path().join(name)).unwrap());
        let lines = text.iter().flat_map(|text| text.lines());
        assert!(
            lines
                .filter(|line| !line.is_empty())
                .all(|line| serde_json::from_str::<Event>(line).is_ok())
        );
    }

    #[test]
    fn unwritable_event_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        Log::new(&missing).record(EventKind::Stopped);
        assert!(!missing.exists());
        assert!(Tail::from_start(&missing).read_new().is_empty());
    }
}
