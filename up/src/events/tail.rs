//! Reading the log while it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Event, FILE, FORMER};

/// Longer lines are dropped. No event is that long, but a damaged file may contain anything.
const MAX_LINE: usize = 1 << 16;

/// A reader of the log. Treats missing and unreadable files as empty, and skips invalid lines.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    /// Files to read, oldest first. The last one may grow.
    files: VecDeque<File>,
    /// The start of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Tail {
    /// A reader of the log in the state directory `dir` that starts with the oldest event.
    pub fn from_start(dir: &Path) -> Self {
        let newest = File::open(dir.join(FILE)).ok();
        // Opened last, so that a rotation in between loses nothing. The same file is not read twice then.
        let former = File::open(dir.join(FORMER)).ok();
        let same = inode(former.as_ref()) == inode(newest.as_ref());
        let former = former.filter(|_| !same || newest.is_none());
        Self {
            dir: dir.to_owned(),
            files: former.into_iter().chain(newest).collect(),
            rest: Vec::new(),
        }
    }

    /// The events since the last call.
    pub fn read_new(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        // Looked up before the known files are read to their end: once there is a new file, only writers that had the old one
        // open still append to it.
        let newer = self.newer();
        while let Some(file) = self.files.front_mut() {
            let mut text = Vec::new();
            // The text read before an error is still valid.
            let _ = file.read_to_end(&mut text);
            self.parse(&text, &mut events);
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
            events.extend(self.read_new());
        }
        events
    }

    /// The current file, if that is not the last one that is being read.
    fn newer(&self) -> Option<File> {
        let newest = File::open(self.dir.join(FILE)).ok()?;
        let last = self.files.back();
        (inode(last) != inode(Some(&newest))).then_some(newest)
    }

    fn parse(&mut self, text: &[u8], events: &mut Vec<Event>) {
        let mut lines = text.split(|byte| *byte == b'\n');
        // Everything after the last newline; may be empty.
        let last = lines.next_back().unwrap_or_default();
        for line in lines {
            self.rest.extend_from_slice(line);
            events.extend(serde_json::from_slice::<Event>(&self.rest));
            self.rest.clear();
        }
        self.rest.extend_from_slice(last);
        if self.rest.len() > MAX_LINE {
            self.rest.clear();
        }
    }
}

fn inode(file: Option<&File>) -> Option<u64> {
    Some(file?.metadata().ok()?.ino())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;

    use super::Tail;
    use crate::events::{EventKind, FILE, FORMER, Log};

    fn kinds(tail: &mut Tail) -> Vec<&'static str> {
        tail.read_new().iter().map(|event| event.kind.name()).collect()
    }

    #[test]
    fn every_event_is_read_once_across_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(dir.path());
        let mut tail = Tail::from_start(dir.path());
        assert_eq!(kinds(&mut tail), [""; 0]);
        log.record(EventKind::Paused);
        assert_eq!(kinds(&mut tail), ["paused"]);
        log.record(EventKind::Unpaused);
        log.record(EventKind::Stopped);
        assert_eq!(kinds(&mut tail), ["unpaused", "stopped"]);
        // The log is rotated between two reads.
        log.record(EventKind::Removed);
        fs::rename(dir.path().join(FILE), dir.path().join(FORMER)).unwrap();
        log.record(EventKind::Paused);
        assert_eq!(kinds(&mut tail), ["removed", "paused"]);
        assert_eq!(kinds(&mut tail), [""; 0]);
        let mut all = Tail::from_start(dir.path());
        assert_eq!(
            kinds(&mut all),
            ["paused", "unpaused", "stopped", "removed", "paused"]
        );
    }

    #[test]
    fn incomplete_line_is_read_once_complete() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create(dir.path().join(FILE)).unwrap();
        let mut tail = Tail::from_start(dir.path());
        file.write_all(b"nonsense\n\xff\n{\"time\":\"2026-03-01T10:00:00Z\",")
            .unwrap();
        assert_eq!(kinds(&mut tail), [""; 0]);
        file.write_all(b"\"event\":\"paused\"}\n").unwrap();
        assert_eq!(kinds(&mut tail), ["paused"]);
    }
}
