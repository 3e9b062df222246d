//! The state directory that the tests share, the fixtures in it, and how tests call parbake.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

use crate::tested;

/// The outcome of a test; the error describes the failure.
pub type Outcome = Result<(), String>;

/// A test or the making of a fixture.
pub type Step = fn(&Place) -> Outcome;

/// A test: its name, the fixtures it needs, and what it does with them.
pub type Test = (&'static str, &'static [&'static Fixture], Step);

/// An artifact or cluster that several tests use. It is made once, by the first test that needs it, so any test runs alone.
pub struct Fixture {
    /// A unique name.
    pub name: &'static str,
    /// The fixtures it is made from.
    pub needs: &'static [&'static Fixture],
    /// Makes it, and checks how that goes.
    pub make: Step,
}

/// The body of a test that checks no more than that its fixtures can be made.
pub fn fixtures_suffice(_: &Place) -> Outcome {
    Ok(())
}

/// Runs the tests that the command line selects, in order and one at a time, and removes what they leave.
///
/// `parbake` is the path of the binary under test.
pub fn run(parbake: &'static str, tests: &'static [Test]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let place = Arc::new(Place::new(parbake));
    let trials = tests.iter().map(|&(name, fixtures, test)| {
        let place = Arc::clone(&place);
        Trial::test(name, move || {
            fixtures.iter().try_for_each(|fixture| place.ensure(fixture))?;
            Ok(test(&place)?)
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if !arguments.list {
        place.clear();
    }
    conclusion.exit_code()
}

/// The provider that is baked.
pub const PROVIDER: &str = "k8s-1.34";

/// The state directory of this test run.
pub struct Place {
    parbake: &'static str,
    dir: PathBuf,
    /// A process that one test starts and another waits for.
    pub beside: Mutex<Option<Child>>,
    /// The fixtures that were made, or why they could not be made.
    fixtures: Mutex<BTreeMap<&'static str, Outcome>>,
}

impl Place {
    /// In `/var/tmp`, because `/tmp` may be on a file system that cannot hold an overlay's upper directory.
    pub fn new(parbake: &'static str) -> Self {
        Self {
            parbake,
            dir: PathBuf::from(format!("/var/tmp/parbake-tests-{}", std::process::id())),
            beside: Mutex::new(None),
            fixtures: Mutex::new(BTreeMap::new()),
        }
    }

    /// Makes `fixture` and what it needs, unless it was made before. A failure is remembered and returned again.
    pub fn ensure(&self, fixture: &Fixture) -> Outcome {
        let made = || self.fixtures.lock().map_err(|error| error.to_string());
        if let Some(outcome) = made()?.get(fixture.name) {
            return outcome.clone();
        }
        let outcome = fixture
            .needs
            .iter()
            .try_for_each(|needed| self.ensure(needed))
            .and_then(|()| (fixture.make)(self))
            .map_err(|error| format!("fixture `{}`: {error}", fixture.name));
        made()?.insert(fixture.name, outcome.clone());
        outcome
    }

    /// Records that a test removed these fixtures; whoever needs them makes them again.
    pub fn removed(&self, fixtures: &[&Fixture]) -> Outcome {
        let mut made = self.fixtures.lock().map_err(|error| error.to_string())?;
        for fixture in fixtures {
            made.remove(fixture.name);
        }
        Ok(())
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The command `parbake WORDS` on this state directory.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.parbake);
        command
            .args(words)
            .env("PARBAKE_DIR", &self.dir)
            .env("PARBAKE_PROVIDERS", repository().join("providers"));
        if std::env::var_os("PARBAKE_CACHE").is_none() {
            command.env("PARBAKE_CACHE", "/var/cache/parbake");
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs parbake and returns its standard output.
    pub fn run(&self, words: &[&str]) -> Result<String, String> {
        let output = self.command(words).output().map_err(|error| error.to_string())?;
        succeeded(words, &output)
    }

    /// Runs parbake with `--output json`.
    pub fn json(&self, words: &[&str]) -> Result<Value, String> {
        self.json_of(&[&["--output", "json"], words].concat())
    }

    /// Runs parbake with `words`, which already ask for JSON.
    pub fn json_of(&self, words: &[&str]) -> Result<Value, String> {
        let text = self.run(words)?;
        serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))
    }

    /// Runs parbake with `input` as its standard input.
    pub fn feed(&self, words: &[&str], input: &str) -> Result<String, String> {
        let mut command = self.command(words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(input.as_bytes())
                .map_err(|error| error.to_string())?;
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        succeeded(words, &output)
    }

    /// Runs parbake, which must exit with 1 and print exactly one `error:` that contains all of `message`.
    pub fn refused(&self, words: &[&str], message: &[&str]) -> Outcome {
        self.refused_with(words, &[], message)
    }

    /// Like [`Place::refused`], with paths in environment variables.
    pub fn refused_with(&self, words: &[&str], paths: &[(&str, &Path)], message: &[&str]) -> Outcome {
        let mut command = self.command(words);
        command.envs(paths.iter().copied());
        let output = command.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stderr);
        check(output.status.code() == Some(1), || {
            format!("{words:?} ended with {}: {text}", output.status)
        })?;
        let errors = text.lines().filter(|line| line.starts_with("error: ")).count();
        check(errors == 1, || format!("{words:?} gave {errors} errors: {text}"))?;
        for part in message {
            check(text.contains(part), || {
                format!("{words:?}: `{part}` is not in: {text}")
            })?;
        }
        Ok(())
    }

    /// Starts parbake and kills only that process after `time`.
    pub fn kill_after(&self, words: &[&str], time: Duration) -> Outcome {
        let mut child = self.spawn(words)?;
        thread::sleep(time);
        check(matches!(child.try_wait(), Ok(None)), || {
            format!("{words:?} was done before it could be killed")
        })?;
        child
            .kill()
            .and_then(|()| child.wait())
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Starts parbake with its standard output in a pipe.
    pub fn spawn(&self, words: &[&str]) -> Result<Child, String> {
        let mut command = self.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(|error| error.to_string())
    }

    /// Removes all clusters, then the directory.
    pub fn clear(&self) {
        if let Some(mut child) = self.beside.lock().ok().and_then(|mut beside| beside.take()) {
            let _ = child.wait();
        }
        let others = entries(&self.dir.join("others"));
        for state in others.chain([self.dir.clone()]) {
            for cluster in entries(&state.join("clusters")) {
                if let (Some(state), Some(name)) = (state.to_str(), cluster.file_name()) {
                    let _ = self.run(&["--dir", state, "down", "--name", &name.to_string_lossy()]);
                }
            }
        }
        let _ = fs::remove_dir_all(below_run());
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("could not remove `{}`: {error}", self.dir.display());
        }
    }
}

/// A directory below `/run` for the tests that need one. It is removed with the state directory.
pub fn below_run() -> PathBuf {
    format!("/run/parbake-test-{}", std::process::id()).into()
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn succeeded(words: &[&str], output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{words:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Records for `docs/tested.md` that `what` works with the artifact `tag`: by provider, source and number of nodes. Call it
/// at the end of a test. Does nothing unless `PARBAKE_TESTED=write` is set.
pub fn record_tested(place: &Place, tag: &str, what: &[&str]) -> Outcome {
    if std::env::var("PARBAKE_TESTED").as_deref() != Ok("write") {
        return Ok(());
    }
    let file = repository().join(tested::FILE);
    let provenance = place.json_of(&["artifact", "provenance", tag])?;
    let parameters = &provenance["predicate"]["buildDefinition"]["externalParameters"];
    let text = |name: &str| {
        let value = parameters[name].as_str().map(str::to_owned);
        value.ok_or_else(|| format!("`{tag}` has no `{name}`: {parameters}"))
    };
    let baked = tested::Baked {
        provider: text("provider")?,
        source: text("source")?,
        nodes: parameters["nodes"].as_u64().unwrap_or_default(),
    };
    let before = fs::read_to_string(&file).map_err(|error| format!("`{}`: {error}", file.display()))?;
    let mut all = tested::Tested::parse(&before)?;
    all.add(baked, what.iter().map(|word| (*word).to_owned()));
    fs::write(&file, all.text()?).map_err(|error| format!("`{}`: {error}", file.display()))
}

/// Fails with `problem` unless `condition` holds.
pub fn check(condition: bool, problem: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(problem()) }
}

/// Repeats `look` until it succeeds.
pub fn eventually(what: &str, limit: Duration, mut look: impl FnMut() -> Outcome) -> Outcome {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(()) => return Ok(()),
            Err(problem) if Instant::now() > deadline => return Err(format!("gave up on {what}: {problem}")),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}
