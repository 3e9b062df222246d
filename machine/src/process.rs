//! The one door for child processes.
//!
//! A child either could not be started, ended with a failure, or printed what could not be understood: three
//! errors, each with the whole command. Children die with the thread that started them, their standard error is
//! kept for the error message, and every one of them is traced.

mod stream;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use nix::sys::prctl;
use nix::sys::signal::Signal;

use crate::cgroup::Cgroup;

/// How much of a failed command's standard error goes into its error, in lines.
const TAIL_LINES: usize = 20;

/// What can go wrong with a child process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program was not found or could not be executed.
    #[error("could not start `{command}`")]
    Start {
        /// The command as a person would type it.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program ended with a non-zero exit code or by a signal.
    #[error("`{command}` failed ({status}){}", shown(.tail))]
    Failed {
        /// The command as a person would type it.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its standard error, or of its output where that is empty.
        tail: String,
    },
    /// The program succeeded but its output was not what it should be.
    #[error("`{command}` printed something unexpected: {problem}")]
    Parse {
        /// The command as a person would type it.
        command: String,
        /// What is wrong with the output.
        problem: String,
    },
    /// What was to go to the program or came from it could not be read, made sense of, or written.
    #[error("could not pass data to or from `{command}`")]
    Stream {
        /// The command as a person would type it.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn shown(tail: &str) -> String {
    if tail.is_empty() {
        String::new()
    } else {
        format!("; its last output:\n{tail}")
    }
}

/// What a command printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The command as a person would type it.
    pub command: String,
    /// Its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// Hands standard output to `parse`.
    ///
    /// # Errors
    /// [`Error::Parse`] with what `parse` says.
    pub fn parse<T, P: ToString>(&self, parse: impl FnOnce(&str) -> Result<T, P>) -> Result<T, Error> {
        parse(&self.stdout).map_err(|problem| Error::Parse {
            command: self.command.clone(),
            problem: problem.to_string(),
        })
    }
}

/// What a child reads.
#[derive(Debug, Clone)]
enum Input {
    Nothing,
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// A command to be run: program, arguments, environment, input.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    clear_env: bool,
    dir: Option<PathBuf>,
    stdin: Input,
    cgroup: Option<Cgroup>,
}

impl Cmd {
    /// A command that runs `program`, looked up in `PATH` unless it holds a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            clear_env: false,
            dir: None,
            stdin: Input::Nothing,
            cgroup: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts from an empty environment instead of this process's own.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// Runs in `dir`.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Writes `input` to the command's standard input, which is empty otherwise.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = Input::Bytes(input.into());
        self
    }

    /// Lets the command read the file `path` as its standard input.
    #[must_use]
    pub fn stdin_file(mut self, path: impl AsRef<Path>) -> Self {
        self.stdin = Input::File(path.as_ref().to_owned());
        self
    }

    /// Moves the child into `cgroup` before it becomes the program.
    #[must_use]
    pub(crate) fn joining(mut self, cgroup: Cgroup) -> Self {
        self.cgroup = Some(cgroup);
        self
    }

    /// Program and arguments.
    pub(crate) fn words(&self) -> impl Iterator<Item = &OsStr> {
        std::iter::once(self.program.as_os_str()).chain(self.args.iter().map(OsString::as_os_str))
    }

    /// The command as a person would type it.
    pub fn display(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.args)
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs the command to its end and returns what it printed.
    ///
    /// # Errors
    /// [`Error::Start`] and [`Error::Failed`].
    pub fn run(&self) -> Result<Output, Error> {
        let command = self.display();
        let started = Instant::now();
        let could_not_start = |source| Error::Start {
            command: command.clone(),
            source,
        };
        let input = match &self.stdin {
            Input::Nothing => Stdio::null(),
            Input::Bytes(_) => Stdio::piped(),
            Input::File(path) => File::open(path).map_err(could_not_start)?.into(),
        };
        let mut child = self
            .std()
            .map_err(could_not_start)?
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(could_not_start)?;
        let writer = match (&self.stdin, child.stdin.take()) {
            (Input::Bytes(input), Some(mut pipe)) => {
                let input = input.clone();
                // A child that does not read all of its input says so by its exit code.
                Some(std::thread::spawn(move || drop(pipe.write_all(&input))))
            }
            _ => None,
        };
        let output = child.wait_with_output().map_err(could_not_start)?;
        if let Some(writer) = writer {
            let _ = writer.join();
        }
        tracing::debug!(%command, status = %output.status, seconds = started.elapsed().as_secs_f64(), "ran");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            let tail = tail(if stderr.trim().is_empty() {
                &stdout
            } else {
                &stderr
            });
            return Err(Error::Failed {
                command,
                status: output.status,
                tail,
            });
        }
        Ok(Output {
            command,
            stdout,
            stderr,
        })
    }

    /// Runs the command with this process's own standard input, output and error, as for a shell.
    ///
    /// # Errors
    /// [`Error::Start`]; a failure of the command itself is in the returned status.
    pub fn run_attached(&self) -> Result<ExitStatus, Error> {
        tracing::debug!(command = %self.display(), "running attached");
        let status = self.std().and_then(|mut command| command.status());
        status.map_err(|source| Error::Start {
            command: self.display(),
            source,
        })
    }

    /// The standard library's command, set to die with the thread that starts it.
    pub(crate) fn std(&self) -> io::Result<Command> {
        let mut command = self.outliving();
        die_with_parent(&mut command);
        if let Some(cgroup) = &self.cgroup {
            enter(&mut command, cgroup.doors().map_err(io::Error::other)?);
        }
        Ok(command)
    }

    /// The standard library's command, which goes on when this process or its terminal ends.
    pub(crate) fn in_own_session(&self) -> Command {
        let mut command = self.outliving();
        // SAFETY: between fork and exec only setsid(2) is called, which is async-signal-safe.
        #[expect(unsafe_code, reason = "pre_exec is the only hook between fork and exec")]
        unsafe {
            command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from));
        }
        command
    }

    /// The standard library's command, without any tie to this process.
    fn outliving(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        if self.clear_env {
            command.env_clear();
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }
}

/// Lets the kernel kill the child when the thread that starts it ends.
fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
    #[expect(unsafe_code, reason = "pre_exec is the only hook between fork and exec")]
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
    }
}

/// Makes the child move itself through `doors` (open `cgroup.procs` files) before it becomes the program.
fn enter(command: &mut Command, doors: Vec<File>) {
    // SAFETY: between fork and exec only write(2) is called, which is async-signal-safe.
    #[expect(unsafe_code, reason = "pre_exec is the only hook between fork and exec")]
    unsafe {
        command.pre_exec(move || doors.iter().try_for_each(|mut door| door.write_all(b"0")));
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Cmd, Error};

    #[test]
    fn gives_back_what_was_printed() {
        let output = Cmd::new("sh")
            .args(["-c", "cat; echo err >&2"])
            .stdin("in")
            .run()
            .unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("in", "err\n"));
    }

    #[test]
    fn a_failure_names_the_command_its_status_and_its_last_words() {
        let error = Cmd::new("sh")
            .args(["-c", "echo 'no such thing' >&2; exit 3"])
            .run()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'echo '\\''no such thing'\\'' >&2; exit 3'` failed (exit status: 3); its last output:\nno such thing"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Cmd::new("parbake-no-such-program").arg("x y").run().unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not start `parbake-no-such-program 'x y'`"
        );
        assert!(matches!(error, Error::Start { .. }));
    }

    #[test]
    fn output_that_makes_no_sense_is_an_error_of_its_own() {
        let output = Cmd::new("echo").arg("abc").run().unwrap();
        let error = output.parse(|text| text.trim().parse::<u32>()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`echo abc` printed something unexpected: invalid digit found in string"
        );
    }
}
