//! Child processes, and the state that a process inherits from its caller.
//!
//! Children are started through [`Cmd`] alone: they die with the thread that started them, every one is traced, and an
//! error holds the whole command and the end of its standard error.

mod foreground;
mod inherited;
pub(crate) mod limits;
mod pid;
mod stream;

pub use inherited::{is_ignored, reset_inherited_state};
pub use pid::ProcessId;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::Error;
use crate::cgroup::Cgroup;

/// How many lines of a failed command's output go into its error.
const TAIL_LINES: usize = 20;

/// What a command printed; invalid UTF-8 is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The command as it would be typed.
    pub command: String,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Parses standard output.
    ///
    /// # Errors
    /// [`Error::Parse`] with the error of `parse`.
    pub fn parse<T, P: ToString>(&self, parse: impl FnOnce(&str) -> Result<T, P>) -> Result<T, Error> {
        parse(&self.stdout).map_err(|problem| Error::Parse {
            command: self.command.clone(),
            problem: problem.to_string(),
        })
    }
}

#[derive(Debug, Clone)]
enum Input {
    Empty,
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// A command to run.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    stdin: Input,
    cgroup: Option<Cgroup>,
}

impl Cmd {
    /// A command that runs `program`, which is looked up in `PATH` unless it contains a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            stdin: Input::Empty,
            cgroup: None,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let variable = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.env.push(variable);
        self
    }

    /// Runs the command in `dir`.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Writes `input` to the command's standard input, which is empty by default.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = Input::Bytes(input.into());
        self
    }

    /// Uses the file `path` as the command's standard input.
    #[must_use]
    pub fn stdin_file(mut self, path: impl AsRef<Path>) -> Self {
        self.stdin = Input::File(path.as_ref().to_owned());
        self
    }

    /// Runs the command in `cgroup`.
    #[must_use]
    pub(crate) fn in_cgroup(mut self, cgroup: Cgroup) -> Self {
        self.cgroup = Some(cgroup);
        self
    }

    /// Program and arguments.
    pub(crate) fn argv(&self) -> impl Iterator<Item = &OsStr> {
        std::iter::once(self.program.as_os_str()).chain(self.args.iter().map(OsString::as_os_str))
    }

    /// The command as it would be typed.
    pub fn display(&self) -> String {
        let words: Vec<String> = self.argv().map(quote).collect();
        words.join(" ")
    }

    /// Runs the command and returns what it printed.
    ///
    /// # Errors
    /// [`Error::Start`] and [`Error::Failed`].
    pub fn run(&self) -> Result<Output, Error> {
        let started = Instant::now();
        let input = match &self.stdin {
            Input::Empty => Stdio::null(),
            Input::Bytes(_) => Stdio::piped(),
            Input::File(path) => File::open(path).map_err(|error| self.not_started(error))?.into(),
        };
        let mut child = self.spawn(input, Stdio::piped(), Stdio::piped())?;
        let writer = match (&self.stdin, child.stdin.take()) {
            (Input::Bytes(input), Some(mut pipe)) => {
                let input = input.clone();
                // A child that does not read all of its input reports that by its exit code.
                Some(std::thread::spawn(move || drop(pipe.write_all(&input))))
            }
            _ => None,
        };
        let output = child
            .wait_with_output()
            .map_err(|error| self.not_started(error))?;
        if let Some(writer) = writer {
            let _ = writer.join();
        }
        let command = self.display();
        tracing::debug!(%command, status = %output.status, seconds = started.elapsed().as_secs_f64(), "ran");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(self.failed(output.status, &stdout, &stderr));
        }
        Ok(Output {
            command,
            stdout,
            stderr,
        })
    }

    /// Runs the command with this process's own standard input, output and error.
    ///
    /// # Errors
    /// [`Error::Start`]; a failure of the command itself is in the returned status.
    pub fn run_attached(&self) -> Result<ExitStatus, Error> {
        tracing::debug!(command = %self.display(), "running attached");
        let status = self.command().and_then(|mut command| command.status());
        status.map_err(|error| self.not_started(error))
    }

    /// Like [`Self::run_attached`], and passes SIGHUP, SIGINT, SIGQUIT and SIGTERM on to the command. It is the last thing
    /// that this process does: from then on, these signals do not end it.
    ///
    /// # Errors
    /// As for [`Self::run_attached`].
    pub fn run_in_foreground(&self) -> Result<ExitStatus, Error> {
        tracing::debug!(command = %self.display(), "running in the foreground");
        let status = self.command().and_then(foreground::run);
        status.map_err(|error| self.not_started(error))
    }

    /// Starts the command.
    pub(crate) fn spawn(
        &self,
        stdin: Stdio,
        stdout: Stdio,
        stderr: Stdio,
    ) -> Result<std::process::Child, Error> {
        self.command()
            .and_then(|mut command| command.stdin(stdin).stdout(stdout).stderr(stderr).spawn())
            .map_err(|error| self.not_started(error))
    }

    /// A command of the standard library that dies with the thread that starts it.
    fn command(&self) -> io::Result<Command> {
        let mut command = self.untied();
        let procs = match &self.cgroup {
            Some(cgroup) => cgroup.open_procs().map_err(io::Error::other)?,
            None => Vec::new(),
        };
        // SAFETY: between fork and exec only prctl(2) and write(2) are called, which are async-signal-safe.
        #[expect(unsafe_code, reason = "pre_exec is the only hook between fork and exec")]
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                procs.iter().try_for_each(|mut procs| procs.write_all(b"0"))
            });
        }
        Ok(command)
    }

    /// A command of the standard library that continues when this process or its terminal ends. It works in `/`, and
    /// inherits no file but standard input, output and error, and no environment variable but `PATH`: systemd-nspawn
    /// would obey those that are meant for the caller, such as `NOTIFY_SOCKET`.
    pub(crate) fn detached(&self) -> Command {
        let mut command = self.untied();
        command.current_dir("/").env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        // SAFETY: between fork and exec only setsid(2), close_range(2) and fcntl(2) are called, which are
        // async-signal-safe.
        #[expect(unsafe_code, reason = "pre_exec is the only hook between fork and exec")]
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                inherited::close_files_on_exec();
                Ok(())
            });
        }
        command
    }

    /// A command of the standard library that is not tied to this process.
    fn untied(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn not_started(&self, source: io::Error) -> Error {
        Error::Start {
            command: self.display(),
            source,
        }
    }

    fn failed(&self, status: ExitStatus, stdout: &str, stderr: &str) -> Error {
        let text = if stderr.trim().is_empty() { stdout } else { stderr };
        let lines: Vec<&str> = text.trim_end().lines().collect();
        Error::Failed {
            command: self.display(),
            status,
            tail: lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"),
        }
    }
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsRawFd;
    use std::process::Stdio;

    use rustix::io::{FdFlags, fcntl_setfd};

    use super::Cmd;
    use crate::Error;

    #[test]
    fn run_returns_standard_output_and_error() {
        let output = Cmd::new("sh")
            .args(["-c", "cat; echo err >&2"])
            .stdin("in")
            .run()
            .unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("in", "err\n"));
    }

    #[test]
    fn failure_names_command_status_and_last_output() {
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
    fn missing_program_is_named() {
        let error = Cmd::new("parbake-no-such-program").arg("x y").run().unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not start `parbake-no-such-program 'x y'`"
        );
        assert!(matches!(error, Error::Start { .. }));
    }

    #[test]
    fn unparsable_output_is_a_distinct_error() {
        let output = Cmd::new("echo").arg("abc").run().unwrap();
        let error = output.parse(|text| text.trim().parse::<u32>()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`echo abc` printed something unexpected: invalid digit found in string"
        );
    }

    #[test]
    fn detached_command_inherits_no_file_or_variable_and_works_in_the_root_directory() {
        let file = File::open("/dev/null").unwrap();
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        let mut child = Cmd::new("sleep")
            .arg("60")
            .detached()
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let proc = format!("/proc/{}", child.id());
        assert!(!fs::exists(format!("{proc}/fd/{}", file.as_raw_fd())).unwrap());
        assert_eq!(fs::read_link(format!("{proc}/cwd")).unwrap().to_str(), Some("/"));
        let environ = fs::read_to_string(format!("{proc}/environ")).unwrap();
        assert!(
            environ.starts_with("PATH=") && environ.matches('=').count() == 1,
            "{environ}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
