//! The terminal, keys and signals of the dashboard.
//!
//! The terminal is restored when the dashboard ends normally, by an error, by a panic of any thread (ratatui sets a hook), or
//! by SIGINT, SIGTERM or SIGHUP, which end the main loop.

use std::io;
use std::mem;
use std::sync::mpsc::Sender;
use std::thread;

use ratatui::crossterm::event::{Event, KeyEventKind, read};
use ratatui::{DefaultTerminal, Frame, try_init, try_restore};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::update::Message;

/// The terminal, which is restored on drop.
pub(super) struct Screen(Option<DefaultTerminal>);

impl Screen {
    /// Takes over the terminal, and sends keys and signals as messages.
    pub(super) fn open(sender: &Sender<Message>) -> io::Result<Self> {
        // First, so that signals during the setup are not lost.
        watch_signals(sender.clone())?;
        let terminal = try_init().inspect_err(|_| {
            // The setup may have failed halfway.
            let _ = try_restore();
        })?;
        let screen = Self(Some(terminal));
        let keys = sender.clone();
        thread::spawn(move || watch_keys(&keys));
        Ok(screen)
    }

    pub(super) fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        match &mut self.0 {
            Some(terminal) => terminal.draw(view).map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = try_restore();
        // If the terminal is gone, ratatui's own drop would print an error to it, and panic.
        if let Some(mut terminal) = self.0.take()
            && terminal.show_cursor().is_err()
        {
            mem::forget(terminal);
        }
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
        let broken = matches!(message, Message::Broken(_));
        if sender.send(message).is_err() || broken {
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
        // The dashboard may have ended.
        let _ = sender.send(Message::Signal(number));
    });
    Ok(())
}

/// Returns the number of the first signal (signal(7)).
async fn first([mut interrupt, mut terminate, mut hangup]: [Signal; 3]) -> u8 {
    tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
        _ = hangup.recv() => 1,
    }
}
