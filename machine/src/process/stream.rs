//! Children whose input or output is streamed, and need not fit into memory.

use std::io::{self, Read, Write};
use std::process::Stdio;
use std::thread;

use super::{Cmd, Output};
use crate::Error;

/// How much of a child's output is kept, in bytes.
const KEPT: u64 = 1 << 20;

impl Cmd {
    /// Runs the command while `write` fills its standard input, and returns what it printed.
    ///
    /// If `write` fails, the command is killed. Its own children may live on and take that for the end of the input: the
    /// format of what is written must show where it ends.
    ///
    /// # Errors
    /// [`Error::Start`] and [`Error::Failed`]; [`Error::Stream`] with the error of `write`. A command that does not read
    /// all of its input has to report that itself.
    pub fn stream_input(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Output, Error> {
        let mut child = self.spawn(Stdio::piped(), Stdio::piped(), Stdio::piped())?;
        let input = child.stdin.take();
        let (output, error) = (child.stdout.take(), child.stderr.take());
        let (written, stdout, stderr) = thread::scope(|scope| {
            let output = scope.spawn(|| read_prefix(output));
            let error = scope.spawn(|| read_prefix(error));
            let written = input.map_or(Ok(()), |mut input| write(&mut input));
            if matches!(&written, Err(error) if error.kind() != io::ErrorKind::BrokenPipe) {
                let _ = child.kill();
            }
            let joined = |text: thread::ScopedJoinHandle<'_, String>| text.join().unwrap_or_default();
            (written, joined(output), joined(error))
        });
        let status = child.wait().map_err(|error| self.not_started(error))?;
        match written {
            Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(self.stream_error(source)),
            _ if !status.success() => Err(self.failed(status, &stdout, &stderr)),
            _ => Ok(Output {
                command: self.display(),
                stdout,
                stderr,
            }),
        }
    }

    /// Runs the command while `read` reads its standard output, and returns the result of `read`. The command is killed if
    /// `read` stops before the end.
    ///
    /// # Errors
    /// [`Error::Start`]; [`Error::Failed`] if `read` reached the end, whatever its result; [`Error::Stream`] with the error
    /// of `read`.
    pub fn stream_output<T>(&self, read: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> Result<T, Error> {
        let mut child = self.spawn(Stdio::null(), Stdio::piped(), Stdio::piped())?;
        let (output, error) = (child.stdout.take(), child.stderr.take());
        let (result, at_end, stderr) = thread::scope(|scope| {
            let error = scope.spawn(|| read_prefix(error));
            let mut output = EndWatcher {
                pipe: output,
                at_end: false,
            };
            let result = read(&mut output);
            let at_end = output.at_end;
            drop(output);
            if !at_end {
                let _ = child.kill();
            }
            (result, at_end, error.join().unwrap_or_default())
        });
        let status = child.wait().map_err(|error| self.not_started(error))?;
        if at_end && !status.success() {
            return Err(self.failed(status, "", &stderr));
        }
        result.map_err(|source| self.stream_error(source))
    }

    fn stream_error(&self, source: io::Error) -> Error {
        Error::Stream {
            command: self.display(),
            source,
        }
    }
}

/// Reads to the end, so that the child never blocks, and returns the beginning.
fn read_prefix(pipe: Option<impl Read>) -> String {
    let Some(mut pipe) = pipe else {
        return String::new();
    };
    let mut prefix = Vec::new();
    let _ = (&mut pipe).take(KEPT).read_to_end(&mut prefix);
    let _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&prefix).into_owned()
}

/// Records whether a pipe was read to its end.
struct EndWatcher<R> {
    pipe: Option<R>,
    at_end: bool,
}

impl<R: Read> Read for EndWatcher<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(buffer))?;
        self.at_end |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufRead, BufReader, Read};
    use std::time::{Duration, Instant};

    use super::super::Cmd;
    use crate::Error;

    fn shell(script: &str) -> Cmd {
        Cmd::new("sh").args(["-c", script])
    }

    #[test]
    fn large_input_and_output_pass_through() {
        let output = shell("wc -c; echo done >&2")
            .stream_input(|input| (0..1000).try_for_each(|_| input.write_all(&[b'x'; 1000])));
        let output = output.unwrap();
        assert_eq!((output.stdout.trim(), output.stderr.trim()), ("1000000", "done"));
        let text = shell("echo one; echo two").stream_output(|output| io::read_to_string(output));
        assert_eq!(text.unwrap(), "one\ntwo\n");
    }

    #[test]
    fn failures_of_the_command_and_of_the_stream_differ() {
        let flood = |input: &mut dyn io::Write| (0..1000).try_for_each(|_| input.write_all(&[0; 10_000]));
        let error = shell("echo 'too much' >&2; exit 3")
            .stream_input(flood)
            .unwrap_err();
        assert!(
            matches!(&error, Error::Failed { status, tail, .. } if status.code() == Some(3) && tail == "too much")
        );
        let error = shell("exec sleep 60").stream_input(|_| Err(io::Error::other("the file is cut off")));
        assert!(
            matches!(error, Err(Error::Stream { source, .. }) if source.to_string() == "the file is cut off")
        );
        let all = |output: &mut dyn Read| {
            let text = io::read_to_string(output)?;
            Err::<(), _>(io::Error::other(format!("`{text}` is too short")))
        };
        let error = shell("echo 'no such file' >&2; exit 2")
            .stream_output(all)
            .unwrap_err();
        assert!(matches!(&error, Error::Failed { tail, .. } if tail == "no such file"));
        assert!(matches!(
            shell("echo x").stream_output(all),
            Err(Error::Stream { .. })
        ));
        let none = |_: &mut dyn Read| Err::<(), _>(io::Error::other("the disk is full"));
        assert!(matches!(
            shell("yes").stream_output(none),
            Err(Error::Stream { .. })
        ));
    }

    #[test]
    fn stopping_early_does_not_wait_for_the_command() {
        let started = Instant::now();
        let first = |output: &mut dyn Read| {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        };
        assert_eq!(shell("yes").stream_output(first).unwrap(), "y\n");
        assert_eq!(
            shell("echo x; exec sleep 60").stream_output(first).unwrap(),
            "x\n"
        );
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
