//! The status page: a model that messages change, and a view of it.
//!
//! ```text
//! look.rs    two threads look at the clusters and at the chosen one's API   \
//! screen.rs  two threads wait for keys and for signals                       > messages -> update() -> Model -> view()
//! act.rs     a thread for each command that was asked for                   /
//! ```
//!
//! The loop here only carries messages to [`update::update`] and draws: nothing that can be slow is on its thread.
//! [`update::update`] and [`view::view`] are functions from value to value.

mod act;
mod look;
mod model;
#[cfg(test)]
mod samples;
mod screen;
mod update;
mod view;

use std::env;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;

use crate::cli::Global;
use act::Actor;
use look::Looker;
use model::{Ended, Model};
use screen::Screen;
use update::{Message, update};
use view::view;

/// The time between two pictures where nothing happens.
const IDLE: Duration = Duration::from_millis(500);
/// The same while a start's bars grow.
const BUSY: Duration = Duration::from_millis(100);

/// Shows the status page until its user or a signal ends it.
pub(crate) fn run(global: &Global) -> anyhow::Result<ExitCode> {
    let (sender, messages) = mpsc::channel();
    let actor = Actor::new(&global.dir, sender.clone())?;
    let mut screen = Screen::open(&sender).context("could not set the terminal up")?;
    let looker = Looker::start(&global.dir, &sender);
    let mut model = Model::new(Timestamp::now(), has_colour());
    // It is chosen as soon as it is seen.
    model.chosen = Some(global.name.clone());
    loop {
        screen
            .draw(|frame| view(&model, frame))
            .context("could not draw")?;
        for message in next(&messages, model.is_busy()) {
            if let Some(job) = update(&mut model, message) {
                actor.run(job);
            }
        }
        looker.choose(model.chosen.as_ref());
        match &model.ended {
            None if looker.is_whole() => {}
            None => bail!("a part of the dashboard ended; this is a mistake in parbake"),
            Some(Ended::Asked) => return Ok(ExitCode::SUCCESS),
            // As shells have it.
            Some(Ended::Signal(number)) => return Ok(ExitCode::from(128_u8.saturating_add(*number))),
            Some(Ended::Broken(problem)) => bail!("{problem}"),
        }
    }
}

/// Waits for something to happen, and takes all that has.
fn next(messages: &Receiver<Message>, busy: bool) -> Vec<Message> {
    let first = messages.recv_timeout(if busy { BUSY } else { IDLE }).ok();
    let now = Message::Tick(Timestamp::now());
    [now]
        .into_iter()
        .chain(first)
        .chain(messages.try_iter())
        .collect()
}

/// Whether the user wants colours (<https://no-color.org>).
fn has_colour() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
