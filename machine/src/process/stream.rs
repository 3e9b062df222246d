//! Children that are fed or read from while they run: what passes through need not fit into memory.

use std::io::{self, Read, Write};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;

use super::{Cmd, Error, Output, tail};

/// How much of what a child says is kept, in bytes.
const KEPT: u64 = 1 << 20;

impl Cmd {
    /// Runs the command to its end while `write` fills its standard input; returns what it printed.
    ///
    /// Where `write` fails the command is killed. What it started itself may live on and take the end of its input for
    /// the end of all: what is written must have an end that can be told.
    ///
    /// # Errors
    /// [`Error::Start`] and [`Error::Failed`]; [`Error::Stream`] with what `write` says. That the command did not want all
    /// of its input is for the command to complain about.
    pub fn feed(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Output, Error> {
        let mut child = self.spawn(Stdio::piped())?;
        let input = child.stdin.take();
        let (output, error) = (child.stdout.take(), child.stderr.take());
        let (written, stdout, stderr) = thread::scope(|scope| {
            let output = scope.spawn(|| keep(output));
            let error = scope.spawn(|| keep(error));
            let written = input.map_or(Ok(()), |mut input| write(&mut input));
            if matches!(&written, Err(error) if error.kind() != io::ErrorKind::BrokenPipe) {
                let _ = child.kill();
            }
            let joined = |kept: thread::ScopedJoinHandle<'_, String>| kept.join().unwrap_or_default();
            (written, joined(output), joined(error))
        });
        let status = self.wait(&mut child)?;
        match written {
            Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(self.stream(source)),
            _ if !status.success() => {
                Err(self.failed(status, if stderr.is_empty() { &stdout } else { &stderr }))
            }
            _ => Ok(Output {
                command: self.display(),
                stdout,
                stderr,
            }),
        }
    }

    /// Runs the command while `read` takes its standard output; returns what `read` does. Where that did not read to the
    /// end, the command is killed.
    ///
    /// # Errors
    /// [`Error::Start`]; [`Error::Failed`] if `read` saw the end, whatever it made of it; [`Error::Stream`] with what `read`
    /// says.
    pub fn drain<T>(&self, read: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> Result<T, Error> {
        let mut child = self.spawn(Stdio::null())?;
        let (output, error) = (child.stdout.take(), child.stderr.take());
        let (taken, all, stderr) = thread::scope(|scope| {
            let error = scope.spawn(|| keep(error));
            let mut output = Watched {
                pipe: output,
                ended: false,
            };
            let taken = read(&mut output);
            let all = output.ended;
            drop(output);
            if !all {
                let _ = child.kill();
            }
            (taken, all, error.join().unwrap_or_default())
        });
        let status = self.wait(&mut child)?;
        // Who is not listened to any more may end as it likes.
        if all && !status.success() {
            return Err(self.failed(status, &stderr));
        }
        taken.map_err(|source| self.stream(source))
    }

    fn spawn(&self, input: Stdio) -> Result<Child, Error> {
        tracing::debug!(command = %self.display(), "streaming");
        let spawned = self.std().and_then(|mut command| {
            let command = command.stdin(input);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        });
        spawned.map_err(|source| self.not_started(source))
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus, Error> {
        child.wait().map_err(|source| self.not_started(source))
    }

    fn not_started(&self, source: io::Error) -> Error {
        Error::Start {
            command: self.display(),
            source,
        }
    }

    fn failed(&self, status: ExitStatus, said: &str) -> Error {
        Error::Failed {
            command: self.display(),
            status,
            tail: tail(said),
        }
    }

    fn stream(&self, source: io::Error) -> Error {
        Error::Stream {
            command: self.display(),
            source,
        }
    }
}

/// Reads to the end, so that the child never waits for us, and keeps the beginning.
fn keep(pipe: Option<impl Read>) -> String {
    let Some(mut pipe) = pipe else {
        return String::new();
    };
    let mut kept = Vec::new();
    let _ = (&mut pipe).take(KEPT).read_to_end(&mut kept);
    let _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

/// A child's output, of which it is known whether all of it was read.
struct Watched<R> {
    pipe: Option<R>,
    ended: bool,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(buffer))?;
        self.ended |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufRead, BufReader, Read};
    use std::time::{Duration, Instant};

    use super::super::{Cmd, Error};

    fn shell(script: &str) -> Cmd {
        Cmd::new("sh").args(["-c", script])
    }

    #[test]
    fn what_is_written_is_read() {
        let output = shell("wc -c; echo done >&2")
            .feed(|input| (0..1000).try_for_each(|_| input.write_all(&[b'x'; 1000])));
        let output = output.unwrap();
        assert_eq!((output.stdout.trim(), output.stderr.trim()), ("1000000", "done"));
        let text = shell("echo one; echo two").drain(|output| io::read_to_string(output));
        assert_eq!(text.unwrap(), "one\ntwo\n");
    }

    #[test]
    fn who_fails_says_why() {
        let flood = |input: &mut dyn io::Write| (0..1000).try_for_each(|_| input.write_all(&[0; 10_000]));
        let error = shell("echo 'too much' >&2; exit 3").feed(flood).unwrap_err();
        assert!(
            matches!(&error, Error::Failed { status, tail, .. } if status.code() == Some(3) && tail == "too much")
        );
        let error = shell("exec sleep 60").feed(|_| Err(io::Error::other("the file is cut off")));
        assert!(
            matches!(error, Err(Error::Stream { source, .. }) if source.to_string() == "the file is cut off")
        );
        let all = |output: &mut dyn Read| {
            let text = io::read_to_string(output)?;
            Err::<(), _>(io::Error::other(format!("`{text}` is too short")))
        };
        let error = shell("echo 'no such file' >&2; exit 2").drain(all).unwrap_err();
        assert!(matches!(&error, Error::Failed { tail, .. } if tail == "no such file"));
        assert!(matches!(shell("echo x").drain(all), Err(Error::Stream { .. })));
        let none = |_: &mut dyn Read| Err::<(), _>(io::Error::other("the disk is full"));
        assert!(matches!(shell("yes").drain(none), Err(Error::Stream { .. })));
    }

    #[test]
    fn who_has_seen_enough_does_not_wait() {
        let started = Instant::now();
        let first = |output: &mut dyn Read| {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        };
        assert_eq!(shell("yes").drain(first).unwrap(), "y\n");
        assert_eq!(shell("echo x; exec sleep 60").drain(first).unwrap(), "x\n");
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
