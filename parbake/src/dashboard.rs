//! The dashboard: a model, messages that change it, and a view of it.
//!
//! ```text
//! poller.rs  two threads poll the clusters, and the API of the selected one  \
//! screen.rs  two threads wait for keys and for signals                        > messages -> update() -> Model -> view()
//! jobs.rs    a thread for each command that the user started                 /
//! ```
//!
//! The main loop only passes messages to [`update::update`] and draws; nothing slow runs on its thread. [`update::update`]
//! and [`view::view`] are pure functions.

mod jobs;
mod model;
mod poller;
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
use parbake_up::ClusterName;

use crate::args::GlobalArgs;
use jobs::JobRunner;
use model::{Ended, Model};
use poller::Poller;
use screen::Screen;
use update::{Message, update};
use view::view;

/// How often to redraw when nothing happens.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);
/// How often to redraw while the bars of a start grow.
const BUSY_INTERVAL: Duration = Duration::from_millis(100);

/// Shows the dashboard with a cluster selected, until the user or a signal ends it.
pub(crate) fn run(global: &GlobalArgs, selected: ClusterName) -> anyhow::Result<ExitCode> {
    let (sender, messages) = mpsc::channel();
    let jobs = JobRunner::new(&global.dir, sender.clone())?;
    let mut screen = Screen::open(&sender).context("could not set up the terminal")?;
    let poller = Poller::start(&global.dir, &sender);
    let mut model = Model::new(Timestamp::now(), use_colour());
    model.selected = Some(selected);
    loop {
        screen
            .draw(|frame| view(&model, frame))
            .context("could not draw")?;
        for message in next(&messages, model.is_busy()) {
            if let Some(job) = update(&mut model, message) {
                jobs.run(job);
            }
        }
        poller.select(model.selected.as_ref());
        match &model.ended {
            None if poller.is_running() => {}
            None => bail!("a thread of the dashboard ended unexpectedly; please report this bug"),
            Some(Ended::Quit) => return Ok(ExitCode::SUCCESS),
            // The convention of shells.
            Some(Ended::Signal(number)) => return Ok(ExitCode::from(128_u8.saturating_add(*number))),
            Some(Ended::Broken(problem)) => bail!("{problem}"),
        }
    }
}

/// Waits for a message, and takes all that are there.
fn next(messages: &Receiver<Message>, busy: bool) -> Vec<Message> {
    let first = messages
        .recv_timeout(if busy { BUSY_INTERVAL } else { IDLE_INTERVAL })
        .ok();
    let now = Message::Tick(Timestamp::now());
    [now]
        .into_iter()
        .chain(first)
        .chain(messages.try_iter())
        .collect()
}

/// True unless the user disabled colours (<https://no-color.org>).
fn use_colour() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
