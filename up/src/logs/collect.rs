//! What is asked of nodes and of the API for an export.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use parbake_machine::process::Cmd;
use tar::Archive;

use super::redact::Redactor;

/// A file of a node's directory, and the command on the node that prints it.
pub(super) const OF_NODE: [(&str, &[&str]); 5] = [
    ("journal.log", &JOURNAL),
    (
        "kubelet.log",
        &[
            JOURNAL[0],
            JOURNAL[1],
            JOURNAL[2],
            JOURNAL[3],
            "--unit=kubelet.service",
        ],
    ),
    (
        "containers.json",
        &["crictl", "--timeout=10s", "ps", "--all", "--output=json"],
    ),
    (
        "images.json",
        &["crictl", "--timeout=10s", "images", "--output=json"],
    ),
    (
        "processes.txt",
        &["ps", "-e", "-o", "pid,ppid,state,etime,rss,comm"],
    ),
];
/// The journal of a node; with `--unit=UNIT` behind it, that of a unit.
pub(super) const JOURNAL: [&str; 4] = ["journalctl", "--boot", "--no-pager", "--output=short-iso-precise"];
/// Sends the containers' logs; that one grows meanwhile (exit code 1) is no failure.
pub(super) const CONTAINERS: &str =
    "cd /var/log/pods && { tar --create --file=- --warning=no-file-changed . || [ $? = 1 ]; }";
/// The same of a control plane's audit log, where it has one.
pub(super) const AUDIT: &str =
    "cd /var/log/kubernetes/audit 2>/dev/null || exec tar --create --file=- --files-from=/dev/null
tar --create --file=- --warning=no-file-changed . || [ $? = 1 ]";
/// A file of the directory `cluster`, and what kubectl is to get for it. No secrets, no configuration maps.
pub(super) const OF_API: [(&str, &str); 5] = [
    ("nodes.json", "nodes,leases"),
    ("pods.json", "pods"),
    ("events.json", "events"),
    (
        "workloads.json",
        "deployments,daemonsets,statefulsets,replicasets,jobs,cronjobs",
    ),
    (
        "services.json",
        "services,endpointslices,persistentvolumes,persistentvolumeclaims,storageclasses",
    ),
];

/// A directory of the export, and what came into it.
#[derive(Debug)]
pub(super) struct Folder<'a> {
    dir: PathBuf,
    redactor: &'a Redactor,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl<'a> Folder<'a> {
    pub(super) fn make(dir: PathBuf, redactor: &'a Redactor) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            redactor,
            files: 0,
            bytes: 0,
        })
    }

    /// Writes the file `name` from `content`, without secrets.
    pub(super) fn add(&mut self, name: &Path, content: impl Read) -> io::Result<()> {
        let path = self.dir.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = BufWriter::new(File::create(path)?);
        self.bytes += self.redactor.copy(content, &mut file)?;
        file.flush()?;
        self.files += 1;
        Ok(())
    }

    /// Writes the file `name` from what `command` prints; gives why that did not do.
    pub(super) fn print(&mut self, name: &str, command: &Cmd) -> Option<String> {
        let printed = command.drain(|output| self.add(Path::new(name), output));
        printed.err().map(|error| described(&error))
    }

    /// Writes what `command` sends as a tar stream below the directory `name`; gives why that did not do.
    pub(super) fn unpack(&mut self, name: &str, command: &Cmd) -> Option<String> {
        let unpacked = command.drain(|output| {
            let mut archive = Archive::new(output);
            for entry in archive.entries()? {
                let entry = entry?;
                let path = entry.path()?.into_owned();
                let inside = path
                    .components()
                    .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
                if !inside || !entry.header().entry_type().is_file() {
                    continue;
                }
                let path = Path::new(name).join(path);
                // What the kubelet has put away.
                match path.extension().is_some_and(|extension| extension == "gz") {
                    true => self.add(&path.with_extension(""), MultiGzDecoder::new(entry))?,
                    false => self.add(&path, entry)?,
                }
            }
            io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
        });
        unpacked.err().map(|error| described(&error))
    }
}

fn described(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
