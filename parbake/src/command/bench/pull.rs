//! `parbake bench pull`

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use parbake_artifact::registry::{Options as RegistryOptions, download_and_discard, pull};
use parbake_artifact::{Layer, Policy, Reference, Store};
use parbake_machine::pid::ProcessId;
use parbake_up::config::Wanted;
use parbake_up::{ClusterName, Options, down, thaw};
use serde::Serialize;

use super::clear;
use super::host::Facts;
use super::measure::Unit;
use super::spread::Spread;
use super::text::line;
use crate::cli::Global;
use crate::command::registry::RegistryArgs;
use crate::command::{block_on, node_count, supervise};
use crate::output::{self, table};

/// A benchmark is for slow hosts, too.
const WAIT: Duration = Duration::from_secs(300);
/// What the state directory of the benchmark is called.
const WORK: &str = "bench-pull";
/// Bytes written at a time.
const BUFFER: usize = 1 << 20;

const EXAMPLES: &str = "\
Example:
  parbake bench pull 127.0.0.1:5000/clusters/k8s-1.34 --plain-http

Each run pulls into an empty store, and starts the cluster. The floor is the same work with nothing
but the work: every blob received and thrown away, then decompressed by all processors, then as
many files and bytes written as the store keeps: the blobs, and what they hold.";

/// Measure a pull into an empty store and the start that follows, against the least that it can take
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// From where: REGISTRY/REPOSITORY[:TAG][@DIGEST]
    reference: Reference,
    /// How many of the baked nodes to start [default: all]
    #[arg(long, value_name = "N", value_parser = node_count())]
    nodes: Option<usize>,
    /// How many times to pull it
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Write pull.md and pull.json into a folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Sample {
    network: f64,
    decode: f64,
    write: f64,
    pull: f64,
    up: f64,
    /// Processor time of the pull over its time.
    processors: f64,
    /// Bytes: the largest resident set of the process while it pulled.
    memory: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    reference: Reference,
    runs: usize,
    host: Facts,
    compressed_bytes: u64,
    unpacked_bytes: u64,
    rows: Vec<Row>,
    /// The medians of pull over floor.
    ratio: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    measure: &'static str,
    unit: Option<Unit>,
    #[serde(flatten)]
    spread: Spread,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let options = RegistryOptions {
            policy: Policy::load(&global.dir)?,
            ..self.registry.into()
        };
        let work = global.dir.join(WORK);
        let mut samples = Vec::new();
        let mut sizes = (0, 0);
        for run in 1..=self.runs {
            tracing::info!("run {run} of {}", self.runs);
            clear(&work)?;
            let (sample, bytes) = measure(&work, &self.reference, &options, self.nodes)?;
            samples.push(sample);
            sizes = bytes;
        }
        clear(&work)?;
        let report = report(self.reference, global, sizes, &samples);
        if let Some(folder) = &self.report {
            super::write(
                folder,
                &[
                    ("pull.md", markdown(&report)),
                    ("pull.json", serde_json::to_string_pretty(&report)? + "\n"),
                ],
            )?;
        }
        output::print(global.output, &report, text)
    }
}

/// The least that it takes, the pull and the start; with it the bytes compressed and unpacked.
fn measure(
    work: &Path,
    reference: &Reference,
    options: &RegistryOptions,
    nodes: Option<usize>,
) -> anyhow::Result<(Sample, (u64, u64))> {
    let (network, _) = timed(|| block_on(download_and_discard(reference, options))?.map_err(Into::into))?;
    let store = Arc::new(Store::open(&work.join("store"))?);
    let own = ProcessId::of(std::process::id())?;
    let before = own.cpu_time()?;
    forget_peak()?;
    let (pull, pulled) = timed(|| Ok(block_on(pull(&store, reference, None, options))??))?;
    let (used, memory) = (own.cpu_time()?.saturating_sub(before), peak()?);
    let artifact = pulled.artifact;
    let (decode, ()) = timed(|| decode(&store, &artifact.layers))?;
    let unpacked: u64 = artifact.layers.iter().map(|layer| layer.unpacked_size).sum();
    // The store keeps both.
    let (write, ()) = timed(|| write_all(&store, &artifact.layers, &work.join("written")))?;
    drop(store);
    let name = ClusterName::default();
    let options = Options {
        tag: artifact.tag.clone(),
        name: name.clone(),
        wanted: Wanted::nodes(nodes),
        internet: false,
        wait: WAIT,
        dir: work.to_owned(),
        supervise: supervise::command()?,
        timings: false,
        probe: false,
    };
    let (up, _) = timed(|| Ok(block_on(thaw(&options))??))?;
    down(work, &name)?;
    let sample = Sample {
        network,
        decode,
        write,
        pull,
        up,
        processors: used.as_secs_f64() / pull,
        memory: memory as f64,
    };
    Ok((sample, (artifact.size(), unpacked)))
}

/// Seconds, and what came of it.
fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(f64, T)> {
    let started = Instant::now();
    let outcome = work()?;
    Ok((started.elapsed().as_secs_f64(), outcome))
}

/// Decompresses all layers, by all processors, and keeps nothing.
fn decode(store: &Store, layers: &[Layer]) -> anyhow::Result<()> {
    let mut layers: Vec<&Layer> = layers.iter().collect();
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.size));
    let next = AtomicUsize::new(0);
    let worker = || -> anyhow::Result<()> {
        while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = store.blob_path(&layer.digest);
            File::open(&path)
                .and_then(|blob| zstd::stream::copy_decode(blob, io::sink()))
                .with_context(|| format!("could not read layer `{}`", layer.title))?;
        }
        Ok(())
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Writes files of the same sizes in the same directories as the store has for these layers.
fn write_all(store: &Store, layers: &[Layer], to: &Path) -> anyhow::Result<()> {
    let failed = || format!("could not write `{}`", to.display());
    fs::create_dir(to).with_context(failed)?;
    for layer in layers {
        let from = store.unpacked(layer)?;
        let copy = to.join(layer.digest.hex());
        write(&copy.with_extension("blob"), layer.size)
            .and_then(|()| write_like(&from, &copy))
            .with_context(failed)?;
    }
    Ok(())
}

fn write_like(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (metadata, copy) = (entry.metadata()?, to.join(entry.file_name()));
        if metadata.is_dir() {
            write_like(&entry.path(), &copy)?;
        } else if metadata.is_symlink() {
            symlink(fs::read_link(entry.path())?, copy)?;
        } else if metadata.is_file() {
            // Without holes.
            write(&copy, metadata.len().min(512 * metadata.blocks()))?;
        }
    }
    Ok(())
}

fn write(path: &Path, mut left: u64) -> io::Result<()> {
    static BYTES: [u8; BUFFER] = [0x5a; BUFFER];
    let mut file = File::create(path)?;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        file.write_all(&BYTES[..count])?;
        left -= count as u64;
    }
    Ok(())
}

/// Starts the count of the largest resident set anew (proc_pid_clear_refs(5), value 5).
fn forget_peak() -> anyhow::Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("could not write `/proc/self/clear_refs`")
}

/// The largest resident set since then, in bytes (proc_pid_status(5), `VmHWM`).
fn peak() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("could not read `/proc/self/status`")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes
        .context("`/proc/self/status` has no VmHWM in kB")?
        .trim()
        .parse()?;
    Ok(kibibytes * 1024)
}

fn report(reference: Reference, global: &Global, sizes: (u64, u64), samples: &[Sample]) -> Report {
    type Value = fn(&Sample) -> f64;
    let floor: Value = |sample| sample.network + sample.decode + sample.write;
    let measures: [(&'static str, Option<Unit>, Value); 8] = [
        ("network", Some(Unit::Seconds), |sample| sample.network),
        ("decode", Some(Unit::Seconds), |sample| sample.decode),
        ("write", Some(Unit::Seconds), |sample| sample.write),
        ("floor, the sum", Some(Unit::Seconds), floor),
        ("pull", Some(Unit::Seconds), |sample| sample.pull),
        ("pull and start", Some(Unit::Seconds), |sample| {
            sample.pull + sample.up
        }),
        ("processors used", None, |sample| sample.processors),
        ("peak memory", Some(Unit::Bytes), |sample| sample.memory),
    ];
    let spread = |value: Value| Spread::of(&samples.iter().map(value).collect::<Vec<_>>());
    Report {
        reference,
        runs: samples.len(),
        host: Facts::look(&global.dir),
        compressed_bytes: sizes.0,
        unpacked_bytes: sizes.1,
        ratio: spread(|sample| sample.pull).median / spread(floor).median,
        rows: measures
            .into_iter()
            .map(|(measure, unit, value)| Row {
                measure,
                unit,
                spread: spread(value),
            })
            .collect(),
    }
}

fn rows(report: &Report) -> impl Iterator<Item = [String; 4]> {
    report.rows.iter().map(|row| {
        let show = |value| match row.unit {
            Some(unit) => unit.show(value),
            None => format!("{value:.2}"),
        };
        row.spread.row(row.measure, show)
    })
}

fn head(report: &Report) -> String {
    format!(
        "{} compressed, {} unpacked; {} runs\n{}\n",
        output::size(report.compressed_bytes),
        output::size(report.unpacked_bytes),
        report.runs,
        report.host.line()
    )
}

fn text(report: &Report) -> String {
    format!(
        "{}\n{}\nthe pull takes {:.2} times as long as the floor\n",
        head(report),
        table(["MEASURE", "MIN", "MEDIAN", "MAX"], rows(report)),
        report.ratio
    )
}

fn markdown(report: &Report) -> String {
    let mut text = format!("# A pull into an empty store\n\n{}\n", head(report));
    text += "| measure | min | median | max |\n|---|---|---|---|\n";
    text.extend(rows(report).map(|row| line(&row)));
    text + &format!(
        "\nThe pull takes {:.2} times as long as the floor.\n",
        report.ratio
    )
}
