//! Measurements of parbake on this host: starts ([`up`]), bakes ([`provision`]) and pulls ([`pull`]).
//!
//! Every benchmark takes its options and a [`Context`], and returns a [`Report`]: JSON for programs, text for a terminal,
//! and files for a repository.

mod case;
mod contenders;
pub mod format;
mod host;
mod metric;
mod plot;
pub mod provision;
pub mod pull;
mod render;
mod report;
mod statistics;
pub mod up;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parbake_machine::process::Cmd;
use serde::Serialize;

pub use case::Rival;
pub use report::UpReport;

/// The longest that a cluster may take to start: benchmarks also run on slow hosts.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Where parbake keeps its state, and how to start the supervisor of a cluster's machines.
#[derive(Debug)]
pub struct Context {
    /// The state directory.
    pub dir: PathBuf,
    /// The command that calls [`parbake_machine::supervisor::supervise`].
    pub supervise: Cmd,
}

/// The result of a benchmark. It serializes to JSON with all figures.
pub trait Report: Serialize {
    /// Tables for a terminal.
    fn text(&self) -> String;

    /// The report as files, by name.
    ///
    /// # Errors
    /// The report cannot be serialized.
    fn files(&self) -> anyhow::Result<Vec<(&'static str, String)>>;
}

/// Writes the files of a report to a directory, which is created if it does not exist.
///
/// # Errors
/// A file cannot be written.
pub fn write(dir: &Path, report: &impl Report) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("could not create `{}`", dir.display()))?;
    for (name, text) in report.files()? {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("could not write `{}`", path.display()))?;
    }
    Ok(())
}

fn to_json(report: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// Removes a benchmark's working directory if it exists.
fn clear(work: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove `{}`", work.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a future to its end on a runtime of its own.
fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    Ok(runtime.context("could not start threads")?.block_on(future))
}

/// Returns the seconds that `work` took, and its result.
fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(f64, T)> {
    let started = Instant::now();
    let result = work()?;
    Ok((started.elapsed().as_secs_f64(), result))
}
