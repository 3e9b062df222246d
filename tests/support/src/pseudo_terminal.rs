//! A command in a pseudo-terminal of 80 by 24 characters.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use vt100::Parser;

/// A running command and our end of its terminal.
pub struct PseudoTerminal {
    child: Child,
    keys: File,
    /// The command's end, kept open to read its settings after the command has exited.
    other_end: OwnedFd,
    screen: Arc<Mutex<Screen>>,
}

/// The content of the screen, and everything that was written to it.
struct Screen {
    parser: Parser,
    written: Vec<u8>,
}

impl PseudoTerminal {
    /// Starts the command with the terminal as its controlling terminal.
    pub fn start(command: &Command) -> Result<Self, String> {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let ends = openpty(&size, None).map_err(|error| error.to_string())?;
        // Close-on-exec copies: a copy of our end in another process would keep the terminal open.
        let copy = |end: &OwnedFd| end.try_clone().map_err(|error| error.to_string());
        let (master, slave) = (copy(&ends.master)?, copy(&ends.slave)?);
        drop(ends);
        let end = || copy(&slave);
        let mut whole = Command::new("setsid");
        whole
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => whole.env(name, value),
                None => whole.env_remove(name),
            };
        }
        whole
            .env("TERM", "xterm-256color")
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?);
        let child = whole.spawn().map_err(|error| error.to_string())?;
        let [rows, columns] = [size.ws_row, size.ws_col].map(|length| NonZero::new(length).ok_or("no size"));
        let screen = Arc::new(Mutex::new(Screen {
            parser: Parser::new(rows?, columns?, 0),
            written: Vec::new(),
        }));
        let mut from = File::from(copy(&master)?);
        let to = Arc::clone(&screen);
        // The thread ends with the terminal.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                if let Ok(mut screen) = to.lock() {
                    screen.parser.process(&bytes[..length]);
                    screen.written.extend_from_slice(&bytes[..length]);
                }
            }
        });
        Ok(Self {
            child,
            keys: master.into(),
            other_end: slave,
            screen,
        })
    }

    /// The process id of the command.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn look<T>(&self, look: impl FnOnce(&Screen) -> T) -> Result<T, String> {
        let screen = self.screen.lock().map_err(|error| error.to_string())?;
        Ok(look(&screen))
    }

    /// The text on the screen.
    pub fn shown(&self) -> Result<String, String> {
        self.look(|screen| screen.parser.screen().contents())
    }

    /// Everything written to the terminal so far, including escape sequences.
    pub fn written(&self) -> Result<String, String> {
        self.look(|screen| String::from_utf8_lossy(&screen.written).into_owned())
    }

    /// Types keys.
    pub fn keys(&mut self, keys: &str) -> Result<(), String> {
        self.keys
            .write_all(keys.as_bytes())
            .map_err(|error| error.to_string())
    }

    /// Waits until `text` is on the screen.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        while !self.shown()?.contains(text) {
            if Instant::now() > deadline || !matches!(self.child.try_wait(), Ok(None)) {
                return Err(format!("`{text}` is not in:\n{}", self.shown()?));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits until the command exits.
    pub fn ended(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => return Ok(status),
                None if Instant::now() > deadline => {
                    let _ = self.child.kill().and_then(|()| self.child.wait());
                    return Err(format!("it goes on:\n{}", self.shown()?));
                }
                None => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// True if the terminal is in line mode with echo again and shows what it showed at the beginning.
    pub fn is_restored(&self) -> Result<bool, String> {
        let settings = tcgetattr(self.other_end.as_fd()).map_err(|error| error.to_string())?;
        let wanted = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
        // The reader thread reads what is still in the terminal.
        thread::sleep(Duration::from_millis(200));
        let left = self.look(|screen| {
            let screen = screen.parser.screen();
            !screen.alternate_screen() && !screen.hide_cursor()
        })?;
        Ok(settings.local_flags.contains(wanted) && left)
    }
}

impl Drop for PseudoTerminal {
    /// Leaves nothing running after a failed test.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
