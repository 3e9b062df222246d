//! Collects an export's files from nodes and the API.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use parbake_machine::process::Cmd;
use tar::Archive;

use super::redact::Redactor;

/// The files of a node's directory, and the commands on the node that print them.
pub(super) const NODE_FILES: [(&str, &[&str]); 5] = [
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
/// Prints the journal of a node, or with `--unit=UNIT` that of a unit.
pub(super) const JOURNAL: [&str; 4] = ["journalctl", "--boot", "--no-pager", "--output=short-iso-precise"];
/// Sends the containers' logs as a tar stream. Exit code 1 means that one grew meanwhile.
pub(super) const CONTAINERS: &str =
    "cd /var/log/pods && { tar --create --file=- --warning=no-file-changed . || [ $? = 1 ]; }";
/// Sends a control plane's audit logs, if there are any.
pub(super) const AUDIT: &str =
    "cd /var/log/kubernetes/audit 2>/dev/null || exec tar --create --file=- --files-from=/dev/null
tar --create --file=- --warning=no-file-changed . || [ $? = 1 ]";
/// The files of the directory `cluster`, and the resources that kubectl gets for them. No secrets and no config maps.
pub(super) const API_FILES: [(&str, &str); 5] = [
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

/// A directory of the export. Everything written to it is redacted.
#[derive(Debug)]
pub(super) struct Folder<'a> {
    dir: PathBuf,
    redactor: &'a Redactor,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl<'a> Folder<'a> {
    pub(super) fn create(dir: PathBuf, redactor: &'a Redactor) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            redactor,
            files: 0,
            bytes: 0,
        })
    }

    /// Writes `content` to the file `name`.
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

    /// Writes the output of `command` to the file `name`.
    pub(super) fn add_output(&mut self, name: &str, command: &Cmd) -> Result<(), parbake_machine::Error> {
        command.stream_output(|output| self.add(Path::new(name), output))
    }

    /// Unpacks the tar stream that `command` prints below the directory `name`.
    pub(super) fn unpack(&mut self, name: &str, command: &Cmd) -> Result<(), parbake_machine::Error> {
        command.stream_output(|output| {
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
                // The kubelet compresses rotated logs.
                match path.extension().is_some_and(|extension| extension == "gz") {
                    true => self.add(&path.with_extension(""), MultiGzDecoder::new(entry))?,
                    false => self.add(&path, entry)?,
                }
            }
            io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
        })
    }
}
