//! What messages do to the model.

use jiff::Timestamp;
use parbake_up::events::Event;
use parbake_up::{ClusterName, ClusterState, ResourceUsage, Status};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Dialog, EVENTS, Ended, Job, Model, Note, Pane, Seen, Verb};

/// Something that happened.
#[derive(Debug)]
pub(super) enum Message {
    /// Time passes.
    Tick(Timestamp),
    /// A key was pressed.
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    /// What clusters there are, or why they cannot be seen.
    Clusters(Timestamp, Result<Vec<Seen>, String>),
    /// How a cluster is.
    Status(Timestamp, Box<Status>),
    /// New events, oldest first.
    Events(Vec<Event>),
    /// A command that was asked for is done.
    Done(Job, Result<(), String>),
    /// This signal came.
    Signal(u8),
    /// The terminal cannot be used any more.
    Broken(String),
}

/// Changes the model; gives what is to be run.
pub(super) fn update(model: &mut Model, message: Message) -> Option<Job> {
    match message {
        Message::Tick(now) => model.now = now,
        Message::Key(key) => return on_key(model, key),
        Message::Resized => {}
        Message::Clusters(at, Ok(clusters)) => see(model, at, clusters),
        Message::Clusters(_, Err(problem)) => model.trouble = Some(problem),
        Message::Status(at, status) => see_closely(model, at, *status),
        Message::Events(events) => {
            model.events.extend(events);
            let more = model.events.len().saturating_sub(EVENTS);
            model.events.drain(..more);
        }
        Message::Done(job, outcome) => done(model, &job, outcome),
        Message::Signal(number) => model.ended = Some(Ended::Signal(number)),
        Message::Broken(problem) => model.ended = Some(Ended::Broken(problem)),
    }
    None
}

fn see(model: &mut Model, at: Timestamp, clusters: Vec<Seen>) {
    model.trouble = None;
    let before = model.index();
    for seen in &clusters {
        remember(model, seen.listed.name.as_str(), at, seen.taken);
    }
    let is = |name: &str| clusters.iter().any(|seen| seen.listed.name.as_str() == name);
    model
        .histories
        .retain(|name, _| is(name.split('/').next().unwrap_or(name)));
    model.clusters = Some(clusters);
    if model.index().is_none() {
        // The chosen one is gone: who stood behind it comes next.
        let last = model.seen().len().saturating_sub(1);
        let next = model.seen().get(before.unwrap_or(0).min(last));
        let name = next.map(|seen| seen.listed.name.clone());
        choose(model, name);
        model.details &= model.chosen.is_some();
    }
}

fn see_closely(model: &mut Model, at: Timestamp, status: Status) {
    for node in &status.nodes {
        let name = format!("{}/{}", status.name, node.node.name);
        remember(model, &name, at, node.usage);
    }
    model.scroll.pods = model.scroll.pods.min(status.pods.len().saturating_sub(1));
    model.status = Some(status);
}

fn remember(model: &mut Model, name: &str, at: Timestamp, taken: Option<ResourceUsage>) {
    match taken {
        Some(taken) => model.histories.entry(name.to_owned()).or_default().add(at, taken),
        None => drop(model.histories.remove(name)),
    }
}

fn choose(model: &mut Model, name: Option<ClusterName>) {
    if model.chosen != name {
        model.chosen = name;
        model.scroll.pods = 0;
    }
}

fn done(model: &mut Model, job: &Job, outcome: Result<(), String>) {
    model.jobs.retain(|other| other != job);
    let (verb, name) = (job.verb.word(), &job.name);
    model.note = Some(match outcome {
        Ok(()) => note(format!("`{verb}` of `{name}` is done")),
        Err(reason) => Note {
            text: format!("`{verb}` of `{name}`: {reason}"),
            bad: true,
        },
    });
    if model.dialog == Some(Dialog::Quit) && model.jobs.is_empty() {
        model.dialog = None;
    }
}

fn note(text: String) -> Note {
    Note { text, bad: false }
}

fn on_key(model: &mut Model, key: KeyEvent) -> Option<Job> {
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    if let Some(dialog) = model.dialog.take() {
        return answer(model, dialog, key.code, interrupt);
    }
    if interrupt {
        quit(model);
        return None;
    }
    model.note = None;
    match key.code {
        KeyCode::Char('q') => quit(model),
        KeyCode::Char('?') => model.dialog = Some(Dialog::Help),
        KeyCode::Tab if !model.details => model.pane = model.pane.next(false),
        KeyCode::BackTab if !model.details => model.pane = model.pane.next(true),
        KeyCode::Enter => model.details = !model.details && model.current().is_some(),
        KeyCode::Esc => model.details = false,
        KeyCode::Down | KeyCode::Char('j') => go(model, 1),
        KeyCode::Up | KeyCode::Char('k') => go(model, -1),
        KeyCode::PageDown => go(model, 10),
        KeyCode::PageUp => go(model, -10),
        KeyCode::Char('s' | 'p' | 'd') => return act(model, key.code),
        _ => {}
    }
    None
}

fn answer(model: &mut Model, dialog: Dialog, code: KeyCode, interrupt: bool) -> Option<Job> {
    let yes = matches!(code, KeyCode::Char('y' | 'Y'));
    match dialog {
        Dialog::Down(name) if yes => run(model, Verb::Down, name),
        Dialog::Quit if yes || interrupt => {
            model.ended = Some(Ended::Asked);
            None
        }
        _ => None,
    }
}

fn quit(model: &mut Model) {
    if model.jobs.is_empty() {
        model.ended = Some(Ended::Asked);
    } else {
        model.dialog = Some(Dialog::Quit);
    }
}

fn go(model: &mut Model, by: isize) {
    let moved = |from: usize, length: usize| from.saturating_add_signed(by).min(length.saturating_sub(1));
    let pods = model.current_status().map_or(0, |status| status.pods.len());
    match model.pane {
        _ if model.details => model.scroll.pods = moved(model.scroll.pods, pods),
        Pane::Pods => model.scroll.pods = moved(model.scroll.pods, pods),
        Pane::Events => model.scroll.events = moved(model.scroll.events, model.told().count()),
        Pane::Clusters => {
            let to = moved(model.index().unwrap_or(0), model.seen().len());
            let name = model.seen().get(to).map(|seen| seen.listed.name.clone());
            choose(model, name);
        }
    }
}

/// What a key asks for, given how the cluster is; or why that cannot be.
fn asked(code: KeyCode, state: ClusterState) -> Result<Verb, &'static str> {
    use ClusterState::{Broken, Created, Paused, Running, Starting, Stopped, Stopping};
    match (code, state) {
        (KeyCode::Char('s'), Created | Stopped | Broken) => Ok(Verb::Start),
        (KeyCode::Char('s'), Running) => Ok(Verb::Stop),
        (KeyCode::Char('s'), Paused) => Err("is paused; `p` lets it go on"),
        (KeyCode::Char('p'), Running) => Ok(Verb::Pause),
        (KeyCode::Char('p'), Paused) => Ok(Verb::Unpause),
        (KeyCode::Char('d'), _) => Ok(Verb::Down),
        (_, Starting) => Err("is being started; wait for it, or remove it with `d`"),
        (_, Stopping) => Err("is being stopped; wait for it"),
        _ => Err("does not run; `s` starts it"),
    }
}

fn act(model: &mut Model, code: KeyCode) -> Option<Job> {
    let current = model.current()?;
    let (name, state) = (current.listed.name.clone(), current.listed.state);
    match asked(code, state) {
        Ok(Verb::Down) => {
            model.dialog = Some(Dialog::Down(name));
            None
        }
        Ok(verb) => run(model, verb, name),
        Err(why) => {
            model.note = Some(note(format!("`{name}` {why}")));
            None
        }
    }
}

fn run(model: &mut Model, verb: Verb, name: ClusterName) -> Option<Job> {
    if let Some(job) = model.jobs.iter().find(|job| job.name == name) {
        model.note = Some(note(format!(
            "`{}` of `{name}` goes on; wait for it",
            job.verb.word()
        )));
        return None;
    }
    let job = Job { verb, name };
    model.jobs.push(job.clone());
    Some(job)
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
