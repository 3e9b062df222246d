//! Exports all logs of a cluster to a directory or an archive.
//!
//! ```text
//! EXPORT/
//! |-- parbake/                  parbake's state: cluster.json, supervisor.json, supervisor.log
//! |-- cluster/                  from the API: nodes.json, pods.json, events.json, workloads.json, services.json
//! |-- node01/
//! |   |-- journal.log           the whole journal since boot
//! |   |-- kubelet.log           its part about the kubelet; likewise containerd.log for the runtime
//! |   |-- console.log           the output of its init
//! |   |-- containers.json, images.json, processes.txt
//! |   |-- pods/                 as in /var/log/pods: NAMESPACE_POD_UID/CONTAINER/N.log
//! |   `-- audit/                the audit logs of a control plane, if auditing is on
//! `-- missing.json              files that could not be collected, and why
//! ```

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use parbake_cluster::model::machine_plan;
use parbake_cluster::{Node, Role};
use parbake_machine::fs::Dirs;
use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;
use serde::Serialize;
use tar::{Builder, HeaderMode};

use super::collect::{API_FILES, AUDIT, CONTAINERS, Folder, JOURNAL, NODE_FILES};
use super::redact::Redactor;
use crate::error::LogsError;
use crate::{Cluster, Error};

/// The files of a cluster's state directory that are exported. None of them holds a secret.
const STATE_FILES: [&str; 3] = ["cluster.json", "supervisor.json", "supervisor.log"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The directory or archive.
    pub path: PathBuf,
    /// The number of files.
    pub files: u64,
    /// Their size before compression.
    pub bytes: u64,
    pub missing: Vec<Missing>,
}

/// A file or directory that is absent from an export, or incomplete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The path in the export.
    pub file: PathBuf,
    pub why: String,
}

/// The result of one thread.
#[derive(Debug, Default)]
struct Part {
    files: u64,
    bytes: u64,
    missing: Vec<Missing>,
}

/// Writes all logs of `cluster` to `path`: a directory, or an archive if it ends in `.tar`, `.tar.gz` or `.tgz`. Keys and
/// tokens are redacted. Files that cannot be collected are listed in the result. `state` is parbake's state directory.
///
/// # Errors
/// `path` exists or cannot be written. Nothing is left behind.
pub fn export(cluster: &Cluster, state: &Path, path: &Path) -> Result<Exported, Error> {
    if path.symlink_metadata().is_ok() {
        return Err(LogsError::Exists {
            path: path.to_owned(),
        }
        .into());
    }
    let _step = tracing::info_span!("step", what = format!("export logs to `{}`", path.display())).entered();
    let staging = StagingDir::create(path)?;
    let mut part = collect(cluster, state, &staging.0).map_err(failed("write", &staging.0))?;
    part.missing.sort_by(|one, other| one.file.cmp(&other.file));
    staging.publish(path)?;
    Ok(Exported {
        path: path.to_owned(),
        files: part.files,
        bytes: part.bytes,
        missing: part.missing,
    })
}

fn collect(cluster: &Cluster, state: &Path, dir: &Path) -> io::Result<Part> {
    let redactor = &Redactor::new();
    let parts = thread::scope(|scope| {
        let parbake = scope.spawn(|| collect_state(cluster, dir, redactor));
        let api = scope.spawn(|| collect_api(cluster, state, dir, redactor));
        let nodes = cluster.record().cluster.nodes().iter();
        let nodes = nodes.map(|node| scope.spawn(move || collect_node(cluster, node, dir, redactor)));
        let threads: Vec<_> = nodes.chain([parbake, api]).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect::<io::Result<Vec<Part>>>()
    })?;
    let mut all = Part::default();
    for part in parts {
        all.files += part.files;
        all.bytes += part.bytes;
        all.missing.extend(part.missing);
    }
    let text = serde_json::to_vec_pretty(&all.missing)?;
    let mut folder = Folder::create(dir.to_owned(), redactor)?;
    folder.add(Path::new("missing.json"), text.as_slice())?;
    all.files += folder.files;
    all.bytes += folder.bytes;
    Ok(all)
}

impl Part {
    /// Records `file` as missing if `outcome` is an error.
    fn check<E: std::error::Error>(&mut self, folder: &str, file: &str, outcome: Result<(), E>) {
        if let Err(error) = outcome {
            let causes = std::iter::successors(error.source(), |cause| cause.source());
            let why = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
            let file = Path::new(folder).join(file);
            self.missing.push(Missing { file, why });
        }
    }

    fn counted(mut self, folder: &Folder<'_>) -> Self {
        (self.files, self.bytes) = (folder.files, folder.bytes);
        self
    }
}

fn collect_state(cluster: &Cluster, dir: &Path, redactor: &Redactor) -> io::Result<Part> {
    let mut part = Part::default();
    let mut folder = Folder::create(dir.join("parbake"), redactor)?;
    for name in STATE_FILES {
        let added = File::open(cluster.dir().join(name)).and_then(|file| folder.add(Path::new(name), file));
        part.check("parbake", name, added);
    }
    Ok(part.counted(&folder))
}

fn collect_api(cluster: &Cluster, state: &Path, dir: &Path, redactor: &Redactor) -> io::Result<Part> {
    let mut part = Part::default();
    let mut folder = Folder::create(dir.join("cluster"), redactor)?;
    for (name, kinds) in API_FILES {
        let args = [
            "get",
            kinds,
            "--all-namespaces",
            "--output=json",
            "--request-timeout=10s",
        ];
        let kubectl = cluster.kubectl(state, &args.map(str::to_owned));
        let added = kubectl.and_then(|kubectl| Ok(folder.add_output(name, &kubectl)?));
        part.check("cluster", name, added);
    }
    Ok(part.counted(&folder))
}

fn collect_node(cluster: &Cluster, node: &Node, dir: &Path, redactor: &Redactor) -> io::Result<Part> {
    let mut part = Part::default();
    let name = node.name.as_str();
    let mut folder = Folder::create(dir.join(name), redactor)?;
    let console = Dirs(&machine_plan::machine_dir(cluster.dir(), node)).console();
    let added = File::open(console).and_then(|file| folder.add(Path::new("console.log"), file));
    part.check(name, "console.log", added);
    let command =
        |command_line: &[&str]| -> Result<Cmd, Error> { Ok(cluster.running().command(name, command_line)?) };
    let runtime = cluster.record().cluster.runtime().profile();
    let runtime_journal = [&JOURNAL[..], runtime.journal].concat();
    let runtime_log = (runtime.log, runtime_journal.as_slice());
    for (file, command_line) in NODE_FILES.into_iter().chain([runtime_log]) {
        let added = command(command_line).and_then(|command| Ok(folder.add_output(file, &command)?));
        part.check(name, file, added);
    }
    let audit = Some(("audit", AUDIT)).filter(|_| node.role == Role::ControlPlane);
    for (dir, script) in [("pods", CONTAINERS)].into_iter().chain(audit) {
        let unpacked = command(&["sh", "-euc", script]).and_then(|command| Ok(folder.unpack(dir, &command)?));
        part.check(name, dir, unpacked);
    }
    Ok(part.counted(&folder))
}

/// The directory beside the destination in which an export is collected. Its name is fixed, so that the next export
/// removes what a killed one left.
struct StagingDir(PathBuf);

impl StagingDir {
    fn create(path: &Path) -> Result<Self, LogsError> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".parbake-partial");
        let staging = Self(path.with_file_name(name));
        staging.clear();
        fs::create_dir(&staging.0).map_err(failed("create", &staging.0))?;
        Ok(staging)
    }

    fn archive(&self) -> PathBuf {
        self.0.with_extension("parbake-archive")
    }

    fn clear(&self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_file(self.archive());
    }

    /// Moves the directory to `path`, or packs it into the archive `path`.
    fn publish(&self, path: &Path) -> Result<(), LogsError> {
        let text = path.to_string_lossy();
        let failed = || failed("write", path);
        let [tar, gz] = [&[".tar"][..], &[".tar.gz", ".tgz"]]
            .map(|endings| endings.iter().any(|ending| text.ends_with(ending)));
        if !tar && !gz {
            return Ok(fs::rename(&self.0, path).map_err(failed())?);
        }
        let top = path.file_name().unwrap_or_default().to_string_lossy();
        let top = top.split(".t").next().unwrap_or_default();
        let archive = self.archive();
        let packed = File::create(&archive).and_then(|file| match gz {
            true => {
                let packed = pack(GzEncoder::new(file, Compression::fast()), top, &self.0)?;
                packed.finish()?.sync_all()
            }
            false => pack(file, top, &self.0)?.sync_all(),
        });
        Ok(packed
            .and_then(|()| fs::rename(&archive, path))
            .map_err(failed())?)
    }
}

fn pack<W: Write>(to: W, top: &str, dir: &Path) -> io::Result<W> {
    let mut archive = Builder::new(to);
    archive.mode(HeaderMode::Deterministic);
    archive.append_dir_all(top, dir)?;
    archive.into_inner()
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        self.clear();
    }
}
