//! Cgroups whose processes stand still: the freezer of either version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::{Cgroup, Error, PATIENCE, failed, tree};

/// How often it is looked whether everything stands still.
const POLL: Duration = Duration::from_millis(1);

/// How a version freezes a cgroup with all below it.
struct Files {
    /// What is written to.
    switch: &'static str,
    freeze: &'static str,
    thaw: &'static str,
    /// What says how far it is, and the line that means everything stands still.
    state: &'static str,
    frozen: &'static str,
}

/// The better one first: on version 2 frozen processes can be killed.
const FREEZERS: [Files; 2] = [
    // Linux, admin-guide/cgroup-v2, 'Core Interface Files'.
    Files {
        switch: "cgroup.freeze",
        freeze: "1",
        thaw: "0",
        state: "cgroup.events",
        frozen: "frozen 1",
    },
    // Linux, admin-guide/cgroup-v1/freezer-subsystem.
    Files {
        switch: "freezer.state",
        freeze: "FROZEN",
        thaw: "THAWED",
        state: "freezer.state",
        frozen: "FROZEN",
    },
];

impl Cgroup {
    /// Makes every process in the cgroup and below stand still, and waits until they do.
    ///
    /// # Errors
    /// The host has no freezer, or a process could not be stopped within ten seconds; all of them go on then.
    pub(crate) fn freeze(&self) -> Result<(), Error> {
        let (dir, files) = self.freezer()?;
        let outcome = freeze(&dir, files).map_err(failed("freeze", &dir));
        if outcome.is_err() {
            // Why it could not be frozen is the news.
            let _ = self.thaw();
        }
        outcome
    }

    /// Lets every process in the cgroup and below go on. One that is not there, or not frozen, counts as thawed.
    ///
    /// # Errors
    /// The cgroup that could not be written to.
    pub(crate) fn thaw(&self) -> Result<(), Error> {
        for dir in &self.dirs {
            thaw(dir).map_err(failed("thaw", dir))?;
        }
        Ok(())
    }

    /// Whether every process in the cgroup and below stands still, or is about to. One that is not there does not.
    ///
    /// # Errors
    /// The host has no freezer, or it cannot be read.
    pub(crate) fn is_frozen(&self) -> Result<bool, Error> {
        if !self.dirs.iter().any(|dir| dir.exists()) {
            return Ok(false);
        }
        let (dir, files) = self.freezer()?;
        let switch = fs::read_to_string(dir.join(files.switch)).map_err(failed("look at", &dir))?;
        // On version 1 the switch says how far it is, too: `FREEZING`.
        Ok(![files.thaw, ""].contains(&switch.trim()))
    }

    /// Thaws the cgroup and every one below it, as far as that is possible: on version 1 what is frozen cannot be
    /// killed.
    pub(super) fn thaw_all(&self) {
        for dir in self.dirs.iter().flat_map(|dir| tree(dir)) {
            // Who cannot be thawed will not be killed either, and that is said.
            let _ = thaw(&dir);
        }
    }

    fn freezer(&self) -> Result<(PathBuf, &'static Files), Error> {
        let mut all = FREEZERS
            .iter()
            .flat_map(|files| self.dirs.iter().map(move |dir| (dir.clone(), files)));
        all.find(|(dir, files)| dir.join(files.switch).exists())
            .ok_or_else(|| {
                let first = self.dirs.first().map_or(Path::new(""), |dir| dir.as_path());
                let problem = "neither `cgroup.freeze` nor `freezer.state` is there";
                failed("freeze", first)(io::Error::new(io::ErrorKind::Unsupported, problem))
            })
    }
}

fn freeze(dir: &Path, files: &Files) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Written again and again: on version 1 a process that was just forked may have been missed.
        fs::write(dir.join(files.switch), files.freeze)?;
        let state = fs::read_to_string(dir.join(files.state))?;
        if state.lines().any(|line| line == files.frozen) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(POLL);
    }
}

fn thaw(dir: &Path) -> io::Result<()> {
    for files in &FREEZERS {
        match fs::OpenOptions::new().write(true).open(dir.join(files.switch)) {
            Ok(mut switch) => io::Write::write_all(&mut switch, files.thaw.as_bytes())?,
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

    /// A process that counts into a file, in a cgroup below `cgroup`.
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
    fn what_is_frozen_stands_still_and_goes_on() {
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
        // Gone counts as thawed.
        cgroup.thaw().unwrap();
        assert!(!cgroup.is_frozen().unwrap());
    }

    #[test]
    fn what_is_frozen_can_be_destroyed() {
        for files in &super::FREEZERS {
            let (cgroup, dir) = (cgroup("destroy"), tempfile::tempdir().unwrap());
            let mut child = counter(&cgroup, &dir.path().join("count"));
            // The whole and what is below, as a container that was paused.
            for dir in cgroup.dirs.iter().flat_map(|dir| super::tree(dir)) {
                if dir.join(files.switch).exists() {
                    super::freeze(&dir, files).unwrap();
                }
            }
            // Whoever was killed is still to be waited for, by us.
            let waiting = std::thread::spawn(move || child.wait());
            cgroup.destroy().unwrap();
            waiting.join().unwrap().unwrap();
        }
    }
}
