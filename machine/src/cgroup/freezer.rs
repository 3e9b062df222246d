//! Freezing and thawing the processes of a cgroup, on v1 and v2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::{Cgroup, TIMEOUT, failed, tree};
use crate::Error;

const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The freezer files of a cgroup version.
struct Files {
    control: &'static str,
    freeze: &'static str,
    thaw: &'static str,
    /// The file with the state, and its line for frozen.
    state: &'static str,
    frozen: &'static str,
}

/// v2 first: there frozen processes can be killed.
const FREEZERS: [Files; 2] = [
    // Linux, admin-guide/cgroup-v2, 'Core Interface Files'.
    Files {
        control: "cgroup.freeze",
        freeze: "1",
        thaw: "0",
        state: "cgroup.events",
        frozen: "frozen 1",
    },
    // Linux, admin-guide/cgroup-v1/freezer-subsystem.
    Files {
        control: "freezer.state",
        freeze: "FROZEN",
        thaw: "THAWED",
        state: "freezer.state",
        frozen: "FROZEN",
    },
];

impl Cgroup {
    /// Freezes every process in the cgroup and below it, and waits until they are frozen.
    ///
    /// # Errors
    /// The host has no freezer, or a process was not frozen within ten seconds; all of them are thawed.
    pub(crate) fn freeze(&self) -> Result<(), Error> {
        let (dir, files) = self.freezer()?;
        let outcome = freeze(&dir, files).map_err(failed("freeze", &dir));
        if outcome.is_err() {
            // The first error is the one to report.
            let _ = self.thaw();
        }
        outcome
    }

    /// Thaws every process in the cgroup and below it. Succeeds if the cgroup does not exist or is not frozen.
    ///
    /// # Errors
    /// The cgroup could not be written to.
    pub(crate) fn thaw(&self) -> Result<(), Error> {
        for dir in &self.dirs {
            thaw(dir).map_err(failed("thaw", dir))?;
        }
        Ok(())
    }

    /// True if the cgroup is frozen or freezing; false if it does not exist.
    ///
    /// # Errors
    /// The host has no freezer, or its state cannot be read.
    pub(crate) fn is_frozen(&self) -> Result<bool, Error> {
        if !self.dirs.iter().any(|dir| dir.exists()) {
            return Ok(false);
        }
        let (dir, files) = self.freezer()?;
        let control =
            fs::read_to_string(dir.join(files.control)).map_err(failed("read the state of", &dir))?;
        // On v1 it may be `FREEZING`, too.
        Ok(![files.thaw, ""].contains(&control.trim()))
    }

    /// Thaws the cgroup and every one below it as far as possible: on v1 frozen processes cannot be killed.
    pub(super) fn thaw_all(&self) {
        for dir in self.dirs.iter().flat_map(|dir| tree(dir)) {
            // What cannot be thawed cannot be killed, which is an error later.
            let _ = thaw(&dir);
        }
    }

    fn freezer(&self) -> Result<(PathBuf, &'static Files), Error> {
        let mut all = FREEZERS
            .iter()
            .flat_map(|files| self.dirs.iter().map(move |dir| (dir.clone(), files)));
        all.find(|(dir, files)| dir.join(files.control).exists())
            .ok_or_else(|| {
                let first = self.dirs.first().map_or(Path::new(""), |dir| dir.as_path());
                let problem = "there is neither `cgroup.freeze` nor `freezer.state`";
                failed("freeze", first)(io::Error::new(io::ErrorKind::Unsupported, problem))
            })
    }
}

fn freeze(dir: &Path, files: &Files) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        // Repeated: on v1 a process that was just forked may have been missed.
        fs::write(dir.join(files.control), files.freeze)?;
        let state = fs::read_to_string(dir.join(files.state))?;
        if state.lines().any(|line| line == files.frozen) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn thaw(dir: &Path) -> io::Result<()> {
    for files in &FREEZERS {
        match fs::OpenOptions::new().write(true).open(dir.join(files.control)) {
            Ok(mut control) => io::Write::write_all(&mut control, files.thaw.as_bytes())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::super::Cgroup;
    use crate::host::Host;

    fn cgroup(name: &str) -> Cgroup {
        let host = Host::probe("/".as_ref()).decide();
        let id = format!("test-{name}-{}", std::process::id());
        Cgroup::of_cluster(&host.cgroups, &id).unwrap()
    }

    /// A process that writes increasing numbers to a file, in a cgroup below `cgroup`.
    fn counter(cgroup: &Cgroup, file: &std::path::Path) -> std::process::Child {
        let below = cgroup.child("below");
        below.create().unwrap();
        let script = format!("n=0; while :; do n=$((n+1)); echo $n > {}; done", file.display());
        let child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        for dir in &below.dirs {
            fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::read_to_string(file).unwrap_or_default().is_empty() {
            assert!(Instant::now() < deadline);
        }
        child
    }

    fn count(file: &std::path::Path) -> String {
        fs::read_to_string(file).unwrap()
    }

    #[test]
    fn frozen_process_stops_and_continues_after_thaw() {
        let (cgroup, dir) = (cgroup("freeze"), tempfile::tempdir().unwrap());
        let file = dir.path().join("count");
        let mut child = counter(&cgroup, &file);
        cgroup.freeze().unwrap();
        let before = count(&file);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(count(&file), before);
        assert!(cgroup.is_frozen().unwrap());
        cgroup.thaw().unwrap();
        assert!(!cgroup.is_frozen().unwrap());
        let deadline = Instant::now() + Duration::from_secs(10);
        while count(&file) == before {
            assert!(Instant::now() < deadline);
        }
        cgroup.destroy().unwrap();
        child.wait().unwrap();
        // Thawing what does not exist succeeds.
        cgroup.thaw().unwrap();
        assert!(!cgroup.is_frozen().unwrap());
    }

    #[test]
    fn frozen_cgroup_can_be_destroyed() {
        for files in &super::FREEZERS {
            let (cgroup, dir) = (cgroup("destroy"), tempfile::tempdir().unwrap());
            let mut child = counter(&cgroup, &dir.path().join("count"));
            // The cgroup and those below it, like a paused container.
            for dir in cgroup.dirs.iter().flat_map(|dir| super::tree(dir)) {
                if dir.join(files.control).exists() {
                    super::freeze(&dir, files).unwrap();
                }
            }
            // The killed child has to be reaped.
            let waiting = std::thread::spawn(move || child.wait());
            cgroup.destroy().unwrap();
            waiting.join().unwrap().unwrap();
        }
    }
}
