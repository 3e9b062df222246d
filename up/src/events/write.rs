//! One line more in the log.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::{Event, FILE, FORMER};

/// How many bytes a file may have before a new one is begun.
const LIMIT: u64 = 1 << 20;

/// Writes `event` to the end of the log below `dir`, which must exist.
pub(super) fn append(dir: &Path, event: &Event) -> io::Result<()> {
    append_within(dir, event, LIMIT)
}

fn append_within(dir: &Path, event: &Event, limit: u64) -> io::Result<()> {
    let mut file = open(dir)?;
    if file.metadata()?.len() >= limit {
        rotate(dir, &file)?;
        file = open(dir)?;
    }
    let mut line = String::new();
    // Of a writer that was cut off: what comes now is not to be lost with it.
    if !ends_a_line(&file)? {
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

fn ends_a_line(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok(last == *b"\n")
}

/// Makes room, unless another process is at it or has done it already.
fn rotate(dir: &Path, full: &File) -> io::Result<()> {
    if flock(full, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let path = dir.join(FILE);
    let named = match fs::metadata(&path) {
        Ok(named) => named,
        // Another one made room and has not begun the new file yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if named.ino() == full.metadata()?.ino() {
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
        let events = Tail::from_the_beginning(dir).more();
        let number = |event: Event| match event.what {
            EventKind::Starting { nodes } => nodes,
            other => panic!("{other:?}"),
        };
        events.into_iter().map(number).collect()
    }

    #[test]
    fn the_log_is_bounded() {
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
    fn who_comes_late_rotates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        append_within(dir.path(), &event(1), 1000).unwrap();
        let full = File::open(dir.path().join(FILE)).unwrap();
        rotate(dir.path(), &full).unwrap();
        append_within(dir.path(), &event(2), 1000).unwrap();
        rotate(dir.path(), &full).unwrap();
        assert_eq!(nodes(dir.path()), [1, 2]);
        // Nor where the new file is not there yet.
        fs::remove_file(dir.path().join(FILE)).unwrap();
        rotate(dir.path(), &full).unwrap();
        assert_eq!(nodes(dir.path()), [1]);
    }

    #[test]
    fn a_line_that_was_cut_off_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        append_within(dir.path(), &event(1), 1000).unwrap();
        let mut file = File::options().append(true).open(dir.path().join(FILE)).unwrap();
        file.write_all(br#"{"time":"2026-"#).unwrap();
        assert_eq!(nodes(dir.path()), [1]);
        append_within(dir.path(), &event(2), 1000).unwrap();
        assert_eq!(nodes(dir.path()), [1, 2]);
    }

    #[test]
    fn writers_do_not_mix_their_lines() {
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
    fn what_cannot_be_written_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let none = dir.path().join("none");
        Log::new(&none).record(EventKind::Stopped);
        assert!(!none.exists());
        assert!(Tail::from_the_beginning(&none).more().is_empty());
    }
}
