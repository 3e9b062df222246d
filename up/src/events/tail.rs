//! The log, read while it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Event, FILE, FORMER};

/// How much of one line is kept: none is that long, but a damaged file may be.
const LONGEST: usize = 1 << 16;

/// A reader of the log. Files that are missing or cannot be read are empty; lines that make no sense are skipped.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    /// Files to be read, oldest first; the last one may grow.
    files: VecDeque<File>,
    /// What there is of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Tail {
    /// Reads the log below the state directory `dir` from its oldest event on.
    pub fn from_the_beginning(dir: &Path) -> Self {
        let newest = File::open(dir.join(FILE)).ok();
        // Opened last: had the log been rotated in between, nothing would be missed, and the same file is not read twice.
        let former = File::open(dir.join(FORMER)).ok();
        let twice = number(former.as_ref()) == number(newest.as_ref());
        let former = former.filter(|_| !twice || newest.is_none());
        Self {
            dir: dir.to_owned(),
            files: former.into_iter().chain(newest).collect(),
            rest: Vec::new(),
        }
    }

    /// What was written since the last call, or since the beginning.
    pub fn more(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        // Found before what there is was read to its end: whoever begins a new file writes to the old one no more, but for
        // those that had it open already.
        let newer = self.newer();
        while let Some(file) = self.files.front_mut() {
            let mut text = Vec::new();
            // What was read before an error is good.
            let _ = file.read_to_end(&mut text);
            self.take(&text, &mut events);
            if self.files.len() == 1 && newer.is_none() {
                break;
            }
            self.files.pop_front();
            self.rest.clear();
            if self.files.is_empty() {
                break;
            }
        }
        if let Some(newer) = newer {
            self.files.push_back(newer);
            events.extend(self.more());
        }
        events
    }

    /// The file that was begun after the last one that is being read.
    fn newer(&self) -> Option<File> {
        let newest = File::open(self.dir.join(FILE)).ok()?;
        let known = self.files.back();
        (number(known) != number(Some(&newest))).then_some(newest)
    }

    fn take(&mut self, text: &[u8], events: &mut Vec<Event>) {
        let mut lines = text.split(|byte| *byte == b'\n');
        // What stands behind the last line's end; empty where nothing does.
        let last = lines.next_back().unwrap_or_default();
        for line in lines {
            self.rest.extend_from_slice(line);
            events.extend(serde_json::from_slice::<Event>(&self.rest));
            self.rest.clear();
        }
        self.rest.extend_from_slice(last);
        if self.rest.len() > LONGEST {
            self.rest.clear();
        }
    }
}

fn number(file: Option<&File>) -> Option<u64> {
    Some(file?.metadata().ok()?.ino())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;

    use super::Tail;
    use crate::events::{EventKind, FILE, FORMER, Log};

    fn words(tail: &mut Tail) -> Vec<&'static str> {
        tail.more().iter().map(|event| event.what.word()).collect()
    }

    #[test]
    fn what_comes_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(dir.path());
        let mut tail = Tail::from_the_beginning(dir.path());
        assert_eq!(words(&mut tail), [""; 0]);
        log.record(EventKind::Paused);
        assert_eq!(words(&mut tail), ["paused"]);
        log.record(EventKind::Unpaused);
        log.record(EventKind::Stopped);
        assert_eq!(words(&mut tail), ["unpaused", "stopped"]);
        // One that begins anew while nobody looks.
        log.record(EventKind::Removed);
        fs::rename(dir.path().join(FILE), dir.path().join(FORMER)).unwrap();
        log.record(EventKind::Paused);
        assert_eq!(words(&mut tail), ["removed", "paused"]);
        assert_eq!(words(&mut tail), [""; 0]);
        let mut all = Tail::from_the_beginning(dir.path());
        assert_eq!(
            words(&mut all),
            ["paused", "unpaused", "stopped", "removed", "paused"]
        );
    }

    #[test]
    fn a_line_counts_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create(dir.path().join(FILE)).unwrap();
        let mut tail = Tail::from_the_beginning(dir.path());
        file.write_all(b"nonsense\n\xff\n{\"time\":\"2026-03-01T10:00:00Z\",")
            .unwrap();
        assert_eq!(words(&mut tail), [""; 0]);
        file.write_all(b"\"event\":\"paused\"}\n").unwrap();
        assert_eq!(words(&mut tail), ["paused"]);
    }
}
