//! All logs of a cluster in a directory or an archive, to be handed on.
//!
//! ```text
//! EXPORT/
//! |-- parbake/                  what parbake knows of the cluster: cluster.json, supervisor.json, supervisor.log
//! |-- cluster/                  what the API says: nodes.json, pods.json, events.json, workloads.json, services.json
//! |-- node01/
//! |   |-- journal.log           all of it, since the node booted; kubelet.log and the runtime's, as containerd.log: parts
//! |   |-- console.log           what its init printed
//! |   |-- containers.json, images.json, processes.txt
//! |   |-- pods/                 as /var/log/pods: NAMESPACE_POD_UID/CONTAINER/N.log
//! |   `-- audit/                of a control plane, where requests are written down: audit.log, and those before it
//! `-- missing.json              what could not be had, and why
//! ```

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use parbake_cluster::{Node, Role, machine_plan};
use parbake_machine::dirs::Dirs;
use parbake_machine::files::failed;
use serde::Serialize;
use tar::{Builder, HeaderMode};

use super::collect::{AUDIT, CONTAINERS, Folder, JOURNAL, OF_API, OF_NODE};
use super::redact::Redactor;
use crate::error::LogsError;
use crate::{Cluster, Error};

/// Parbake's own files of a cluster that say something and open nothing.
const OWN: [&str; 3] = ["cluster.json", "supervisor.json", "supervisor.log"];

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The directory or archive.
    pub path: PathBuf,
    /// How many files are in it.
    pub files: u64,
    /// Their bytes, before they are compressed.
    pub bytes: u64,
    /// What could not be had.
    pub missing: Vec<Missing>,
}

/// Something that is not in an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The file or directory in the export.
    pub file: PathBuf,
    /// Why it is not there, or not all of it.
    pub why: String,
}

/// What one thread came to.
#[derive(Debug, Default)]
struct Part {
    files: u64,
    bytes: u64,
    missing: Vec<Missing>,
}

/// Writes all logs of `cluster` to `path`: a directory, or an archive if it ends in `.tar`, `.tar.gz` or `.tgz`. Keys and
/// tokens are blotted out. What a node does not give is listed, and no reason to give up. `state` is parbake's state
/// directory.
///
/// # Errors
/// There is something at `path`, or it cannot be written; nothing is left then.
pub fn export(cluster: &Cluster, state: &Path, path: &Path) -> Result<Exported, Error> {
    if path.symlink_metadata().is_ok() {
        return Err(LogsError::Exists {
            path: path.to_owned(),
        }
        .into());
    }
    let _step = tracing::info_span!("step", what = format!("export logs to `{}`", path.display())).entered();
    let stage = Stage::make(path)?;
    let mut part = collect(cluster, state, &stage.0).map_err(failed("write", &stage.0))?;
    part.missing.sort_by(|one, other| one.file.cmp(&other.file));
    stage.publish(path)?;
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
        let own = scope.spawn(|| of_parbake(cluster, dir, redactor));
        let api = scope.spawn(|| of_api(cluster, state, dir, redactor));
        let nodes = cluster.record().cluster.nodes().iter();
        let nodes = nodes.map(|node| scope.spawn(move || of_node(cluster, node, dir, redactor)));
        let threads: Vec<_> = nodes.chain([own, api]).collect();
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
    let mut folder = Folder::make(dir.to_owned(), redactor)?;
    folder.add(Path::new("missing.json"), text.as_slice())?;
    all.files += folder.files;
    all.bytes += folder.bytes;
    Ok(all)
}

impl Part {
    fn lacks(&mut self, folder: &str, file: &str, why: Option<String>) {
        let file = Path::new(folder).join(file);
        self.missing.extend(why.map(|why| Missing { file, why }));
    }

    fn of(mut self, folder: &Folder<'_>) -> Self {
        (self.files, self.bytes) = (folder.files, folder.bytes);
        self
    }
}

fn of_parbake(cluster: &Cluster, dir: &Path, redactor: &Redactor) -> io::Result<Part> {
    let mut part = Part::default();
    let mut folder = Folder::make(dir.join("parbake"), redactor)?;
    for name in OWN {
        let added = File::open(cluster.dir().join(name)).and_then(|file| folder.add(Path::new(name), file));
        part.lacks("parbake", name, added.err().map(|error| error.to_string()));
    }
    Ok(part.of(&folder))
}

fn of_api(cluster: &Cluster, state: &Path, dir: &Path, redactor: &Redactor) -> io::Result<Part> {
    let mut part = Part::default();
    let mut folder = Folder::make(dir.join("cluster"), redactor)?;
    for (name, kinds) in OF_API {
        let words = [
            "get",
            kinds,
            "--all-namespaces",
            "--output=json",
            "--request-timeout=10s",
        ];
        let why = match cluster.kubectl(state, &words.map(str::to_owned)) {
            Ok(kubectl) => folder.print(name, &kubectl),
            Err(error) => Some(error.to_string()),
        };
        part.lacks("cluster", name, why);
    }
    Ok(part.of(&folder))
}

fn of_node(cluster: &Cluster, node: &Node, dir: &Path, redactor: &Redactor) -> io::Result<Part> {
    let mut part = Part::default();
    let name = node.name.as_str();
    let mut folder = Folder::make(dir.join(name), redactor)?;
    let console = Dirs(&machine_plan::machine_dir(cluster.dir(), node)).console();
    let added = File::open(console).and_then(|file| folder.add(Path::new("console.log"), file));
    part.lacks(name, "console.log", added.err().map(|error| error.to_string()));
    let runtime = cluster.record().cluster.runtime().answers();
    let of_runtime = [&JOURNAL[..], runtime.journal].concat();
    for (file, words) in OF_NODE.into_iter().chain([(runtime.log, of_runtime.as_slice())]) {
        let why = match cluster.running().command(name, words) {
            Ok(command) => folder.print(file, &command),
            Err(error) => Some(error.to_string()),
        };
        part.lacks(name, file, why);
    }
    let audit = Some(("audit", AUDIT)).filter(|_| node.role == Role::ControlPlane);
    for (dir, script) in [("pods", CONTAINERS)].into_iter().chain(audit) {
        let why = match cluster.running().command(name, ["sh", "-euc", script]) {
            Ok(command) => folder.unpack(dir, &command),
            Err(error) => Some(error.to_string()),
        };
        part.lacks(name, dir, why);
    }
    Ok(part.of(&folder))
}

/// The directory in which an export grows, beside its place: of a fixed name, so that the next one removes what was left
/// when this one is killed.
struct Stage(PathBuf);

impl Stage {
    fn make(path: &Path) -> Result<Self, LogsError> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".parbake-partial");
        let stage = Self(path.with_file_name(name));
        stage.clear();
        fs::create_dir(&stage.0).map_err(failed("make", &stage.0))?;
        Ok(stage)
    }

    fn archive(&self) -> PathBuf {
        self.0.with_extension("parbake-archive")
    }

    fn clear(&self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_file(self.archive());
    }

    /// Moves it to its place, as what its name asks for.
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

impl Drop for Stage {
    fn drop(&mut self) {
        self.clear();
    }
}
