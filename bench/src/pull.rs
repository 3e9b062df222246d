//! `parbake bench pull`: pulls into an empty store and starts the cluster, and compares that with its lower bound.
//!
//! The lower bound is the same work without verification and bookkeeping: receive every blob and discard it, decompress
//! all layers on all CPUs, then write as many files and bytes as the store keeps.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use parbake_artifact::registry::{Options as RegistryOptions, download_and_discard, pull};
use parbake_artifact::{Layer, Reference, Store};
use parbake_machine::process::ProcessId;
use parbake_up::config::ConfigRequest;
use parbake_up::{ClusterName, ThawOptions, down, thaw};
use serde::Serialize;

use crate::format::{count, markdown_row, size, table};
use crate::host::HostFacts;
use crate::metric::Unit;
use crate::statistics::Summary;
use crate::{Context, Report, TIMEOUT, block_on, clear, timed, to_json};

/// The name of the benchmark's state directory.
const WORK: &str = "bench-pull";
/// Bytes written at a time.
const BUFFER: usize = 1 << 20;

/// What to pull, and how often.
#[derive(Debug)]
pub struct Options {
    pub reference: Reference,
    pub registry: RegistryOptions,
    /// Baked nodes to start; all of them if not given.
    pub nodes: Option<usize>,
    pub runs: u16,
}

/// One run; seconds unless stated.
#[derive(Debug, Clone, Copy)]
struct Sample {
    network: f64,
    decode: f64,
    write: f64,
    pull: f64,
    up: f64,
    /// CPU time of the pull divided by its duration.
    cpus: f64,
    /// Bytes: the peak resident set of this process during the pull.
    memory: f64,
    compressed_bytes: u64,
    unpacked_bytes: u64,
}

/// How long pulls and starts took.
#[derive(Debug, Serialize)]
pub struct PullReport {
    reference: Reference,
    runs: usize,
    host: HostFacts,
    compressed_bytes: u64,
    unpacked_bytes: u64,
    rows: Vec<Row>,
    /// The median of the pull divided by that of the lower bound.
    ratio: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    measure: &'static str,
    unit: Option<Unit>,
    #[serde(flatten)]
    summary: Summary,
}

/// Pulls and starts [`Options::runs`] times, each time into an empty store.
///
/// # Errors
/// The first step that failed.
pub fn run(context: &Context, options: &Options) -> Result<PullReport> {
    let work = context.dir.join(WORK);
    let mut samples = Vec::new();
    for run in 1..=options.runs {
        tracing::info!("run {run} of {}", options.runs);
        clear(&work)?;
        samples.push(measure(context, &work, options)?);
    }
    clear(&work)?;
    Ok(report(context, options, &samples))
}

fn measure(context: &Context, work: &Path, options: &Options) -> Result<Sample> {
    let Options {
        reference, registry, ..
    } = options;
    let (network, _) = timed(|| block_on(download_and_discard(reference, registry))?.map_err(Into::into))?;
    let store = Arc::new(Store::open(&work.join("store"))?);
    let own = ProcessId::of(std::process::id())?;
    let before = own.cpu_time()?;
    reset_peak_memory()?;
    let (pull, pulled) = timed(|| Ok(block_on(pull(&store, reference, None, registry))??))?;
    let (used, memory) = (own.cpu_time()?.saturating_sub(before), peak_memory()?);
    let artifact = pulled.artifact;
    let (decode, ()) = timed(|| decode(&store, &artifact.layers))?;
    // The store keeps blobs and unpacked layers.
    let (write, ()) = timed(|| write_all(&store, &artifact.layers, &work.join("written")))?;
    drop(store);
    let name = ClusterName::default();
    let up = ThawOptions {
        tag: artifact.tag.clone(),
        name: name.clone(),
        config: ConfigRequest::nodes(options.nodes),
        internet: false,
        wait: TIMEOUT,
        dir: work.to_owned(),
        supervise: context.supervise.clone(),
        timings: false,
        probe: false,
    };
    let (up, _) = timed(|| Ok(block_on(thaw(&up))??))?;
    down(work, &name)?;
    Ok(Sample {
        network,
        decode,
        write,
        pull,
        up,
        cpus: used.as_secs_f64() / pull,
        memory: memory as f64,
        compressed_bytes: artifact.size(),
        unpacked_bytes: artifact.layers.iter().map(|layer| layer.unpacked_size).sum(),
    })
}

/// Decompresses all layers on all CPUs and discards the result.
fn decode(store: &Store, layers: &[Layer]) -> Result<()> {
    let mut layers: Vec<&Layer> = layers.iter().collect();
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.size));
    let next = AtomicUsize::new(0);
    let worker = || -> Result<()> {
        while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = store.blob_path(&layer.digest);
            File::open(&path)
                .and_then(|blob| zstd::stream::copy_decode(blob, io::sink()))
                .with_context(|| format!("could not read layer `{}`", layer.title))?;
        }
        Ok(())
    };
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cpus).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Writes files of the same sizes in the same directories as the store has for these layers.
fn write_all(store: &Store, layers: &[Layer], to: &Path) -> Result<()> {
    let failed = || format!("could not write `{}`", to.display());
    fs::create_dir(to).with_context(failed)?;
    for layer in layers {
        let from = store.unpacked(layer)?;
        let copy = to.join(layer.digest.hex());
        write_file(&copy.with_extension("blob"), layer.size)
            .and_then(|()| write_tree(&from, &copy))
            .with_context(failed)?;
    }
    Ok(())
}

fn write_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (metadata, copy) = (entry.metadata()?, to.join(entry.file_name()));
        if metadata.is_dir() {
            write_tree(&entry.path(), &copy)?;
        } else if metadata.is_symlink() {
            symlink(fs::read_link(entry.path())?, copy)?;
        } else if metadata.is_file() {
            // Holes are not written.
            write_file(&copy, metadata.len().min(512 * metadata.blocks()))?;
        }
    }
    Ok(())
}

fn write_file(path: &Path, mut left: u64) -> io::Result<()> {
    static BYTES: [u8; BUFFER] = [0x5a; BUFFER];
    let mut file = File::create(path)?;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        file.write_all(&BYTES[..count])?;
        left -= count as u64;
    }
    Ok(())
}

/// Resets the peak resident set (proc_pid_clear_refs(5), value 5).
fn reset_peak_memory() -> Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("could not write `/proc/self/clear_refs`")
}

/// The peak resident set since the reset, in bytes (proc_pid_status(5), `VmHWM`).
fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("could not read `/proc/self/status`")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes
        .context("`/proc/self/status` has no VmHWM in kB")?
        .trim()
        .parse()?;
    Ok(kibibytes * 1024)
}

fn report(context: &Context, options: &Options, samples: &[Sample]) -> PullReport {
    type Value = fn(&Sample) -> f64;
    let floor: Value = |sample| sample.network + sample.decode + sample.write;
    let metrics: [(&'static str, Option<Unit>, Value); 8] = [
        ("network", Some(Unit::Seconds), |sample| sample.network),
        ("decode", Some(Unit::Seconds), |sample| sample.decode),
        ("write", Some(Unit::Seconds), |sample| sample.write),
        ("floor (sum)", Some(Unit::Seconds), floor),
        ("pull", Some(Unit::Seconds), |sample| sample.pull),
        ("pull and start", Some(Unit::Seconds), |sample| {
            sample.pull + sample.up
        }),
        ("CPUs used", None, |sample| sample.cpus),
        ("peak memory", Some(Unit::Bytes), |sample| sample.memory),
    ];
    let summary = |value: Value| Summary::of(&samples.iter().map(value).collect::<Vec<_>>());
    let last = samples.last();
    PullReport {
        reference: options.reference.clone(),
        runs: samples.len(),
        host: HostFacts::read(&context.dir),
        compressed_bytes: last.map_or(0, |sample| sample.compressed_bytes),
        unpacked_bytes: last.map_or(0, |sample| sample.unpacked_bytes),
        ratio: summary(|sample| sample.pull).median / summary(floor).median,
        rows: metrics
            .into_iter()
            .map(|(measure, unit, value)| Row {
                measure,
                unit,
                summary: summary(value),
            })
            .collect(),
    }
}

fn rows(report: &PullReport) -> impl Iterator<Item = [String; 4]> {
    report.rows.iter().map(|row| {
        let show = |value| match row.unit {
            Some(unit) => unit.show(value),
            None => format!("{value:.2}"),
        };
        row.summary.row(row.measure, show)
    })
}

fn head(report: &PullReport) -> String {
    format!(
        "{} compressed, {} unpacked; {}\n{}\n",
        size(report.compressed_bytes),
        size(report.unpacked_bytes),
        count(report.runs, "run"),
        report.host.line()
    )
}

impl Report for PullReport {
    fn text(&self) -> String {
        format!(
            "{}\n{}\nthe pull takes {:.2} times as long as the floor\n",
            head(self),
            table(["METRIC", "MIN", "MEDIAN", "MAX"], rows(self)),
            self.ratio
        )
    }

    fn files(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![("pull.md", markdown(self)), ("pull.json", to_json(self)?)])
    }
}

fn markdown(report: &PullReport) -> String {
    let mut text = format!("# A pull into an empty store\n\n{}\n", head(report));
    text += "| metric | min | median | max |\n|---|---|---|---|\n";
    text.extend(rows(report).map(|row| markdown_row(&row)));
    text + &format!(
        "\nThe pull takes {:.2} times as long as the floor.\n",
        report.ratio
    )
}
