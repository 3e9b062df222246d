//! The terminal while the status page has it, keys and signals.
//!
//! The terminal is given back as it was when the page ends in order, by an error, by a panic of any thread (a hook that
//! ratatui sets) or by SIGINT, SIGTERM and SIGHUP, which end the loop.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;

use ratatui::crossterm::event::{Event, KeyEventKind, read};
use ratatui::{DefaultTerminal, Frame, try_init, try_restore};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::update::Message;

/// The terminal, which is given back in the end.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal, and has keys and signals sent as messages.
    pub(super) fn open(sender: &Sender<Message>) -> io::Result<Self> {
        // First: what comes while the terminal is being taken counts too.
        watch_signals(sender.clone())?;
        let terminal = try_init().inspect_err(|_| {
            // Half of it may have been done.
            let _ = try_restore();
        })?;
        let screen = Self(terminal);
        let keys = sender.clone();
        thread::spawn(move || watch_keys(&keys));
        Ok(screen)
    }

    /// Draws one picture.
    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(picture).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nowhere to say so: the terminal is what failed.
        let _ = self.0.show_cursor();
        let _ = try_restore();
    }
}

fn watch_keys(sender: &Sender<Message>) {
    loop {
        let message = match read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Message::Key(key),
            Ok(Event::Resize(..)) => Message::Resized,
            Ok(_) => continue,
            Err(error) => Message::Broken(format!("could not read from the terminal: {error}")),
        };
        let over = matches!(message, Message::Broken(_));
        if sender.send(message).is_err() || over {
            return;
        }
    }
}

fn watch_signals(sender: Sender<Message>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = {
        let _entered = runtime.enter();
        [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]
    };
    thread::spawn(move || {
        let number = runtime.block_on(first(signals));
        // Nobody may want to know any more.
        let _ = sender.send(Message::Signal(number));
    });
    Ok(())
}

/// The number of the signal that comes first (signal(7)).
async fn first([mut interrupt, mut terminate, mut hangup]: [Signal; 3]) -> u8 {
    tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
        _ = hangup.recv() => 1,
    }
}
