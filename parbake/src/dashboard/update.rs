//! Changes the model by messages.

use jiff::Timestamp;
use parbake_up::events::Event;
use parbake_up::{ClusterName, ClusterState, ResourceUsage, Status};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{ClusterRow, Dialog, Ended, Job, MAX_EVENTS, Model, Note, Pane, Verb};

#[derive(Debug)]
pub(super) enum Message {
    Tick(Timestamp),
    Key(KeyEvent),
    Resized,
    /// The list of clusters, or why it cannot be read.
    Clusters(Timestamp, Result<Vec<ClusterRow>, String>),
    /// The status of the selected cluster.
    Status(Timestamp, Box<Status>),
    /// New events, oldest first.
    Events(Vec<Event>),
    /// The result of a command.
    Done(Job, Result<(), String>),
    Signal(u8),
    /// The terminal or a thread failed.
    Broken(String),
}

/// Updates the model, and returns the command to run.
pub(super) fn update(model: &mut Model, message: Message) -> Option<Job> {
    match message {
        Message::Tick(now) => model.now = now,
        Message::Key(key) => return press_key(model, key),
        Message::Resized => {}
        Message::Clusters(at, Ok(clusters)) => update_clusters(model, at, clusters),
        Message::Clusters(_, Err(problem)) => model.list_error = Some(problem),
        Message::Status(at, status) => update_status(model, at, *status),
        Message::Events(events) => {
            model.events.extend(events);
            let excess = model.events.len().saturating_sub(MAX_EVENTS);
            model.events.drain(..excess);
        }
        Message::Done(job, result) => finish_job(model, &job, result),
        Message::Signal(number) => model.ended = Some(Ended::Signal(number)),
        Message::Broken(problem) => model.ended = Some(Ended::Broken(problem)),
    }
    None
}

fn update_clusters(model: &mut Model, at: Timestamp, clusters: Vec<ClusterRow>) {
    model.list_error = None;
    let before = model.index();
    for row in &clusters {
        add_usage(model, row.listed.name.as_str(), at, row.usage);
    }
    let exists = |name: &str| clusters.iter().any(|row| row.listed.name.as_str() == name);
    model
        .histories
        .retain(|name, _| exists(name.split('/').next().unwrap_or(name)));
    model.clusters = Some(clusters);
    if model.index().is_none() {
        // The selected cluster was removed: select the next one.
        let last = model.rows().len().saturating_sub(1);
        let next = model.rows().get(before.unwrap_or(0).min(last));
        let name = next.map(|row| row.listed.name.clone());
        select(model, name);
        model.details &= model.selected.is_some();
    }
}

fn update_status(model: &mut Model, at: Timestamp, status: Status) {
    for node in &status.nodes {
        let name = format!("{}/{}", status.name, node.node.name);
        add_usage(model, &name, at, node.usage);
    }
    model.scroll.pods = model.scroll.pods.min(status.pods.len().saturating_sub(1));
    model.status = Some(status);
}

fn add_usage(model: &mut Model, name: &str, at: Timestamp, usage: Option<ResourceUsage>) {
    match usage {
        Some(usage) => model.histories.entry(name.to_owned()).or_default().add(at, usage),
        None => drop(model.histories.remove(name)),
    }
}

fn select(model: &mut Model, name: Option<ClusterName>) {
    if model.selected != name {
        model.selected = name;
        model.scroll.pods = 0;
    }
}

fn finish_job(model: &mut Model, job: &Job, result: Result<(), String>) {
    model.jobs.retain(|other| other != job);
    let (command, name) = (job.verb.command(), &job.name);
    model.note = Some(match result {
        Ok(()) => note(format!("`{command}` of `{name}` is done")),
        Err(reason) => Note {
            text: format!("`{command}` of `{name}` failed: {reason}"),
            is_error: true,
        },
    });
    if model.dialog == Some(Dialog::Quit) && model.jobs.is_empty() {
        model.dialog = None;
    }
}

fn note(text: String) -> Note {
    Note {
        text,
        is_error: false,
    }
}

fn press_key(model: &mut Model, key: KeyEvent) -> Option<Job> {
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    if let Some(dialog) = model.dialog.take() {
        return answer_dialog(model, dialog, key.code, interrupt);
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
        KeyCode::Down | KeyCode::Char('j') => move_by(model, 1),
        KeyCode::Up | KeyCode::Char('k') => move_by(model, -1),
        KeyCode::PageDown => move_by(model, 10),
        KeyCode::PageUp => move_by(model, -10),
        KeyCode::Char('s' | 'p' | 'd') => return start_job(model, key.code),
        _ => {}
    }
    None
}

fn answer_dialog(model: &mut Model, dialog: Dialog, code: KeyCode, interrupt: bool) -> Option<Job> {
    let yes = matches!(code, KeyCode::Char('y' | 'Y'));
    match dialog {
        Dialog::Down(name) if yes => run(model, Verb::Down, name),
        Dialog::Quit if yes || interrupt => {
            model.ended = Some(Ended::Quit);
            None
        }
        _ => None,
    }
}

fn quit(model: &mut Model) {
    if model.jobs.is_empty() {
        model.ended = Some(Ended::Quit);
    } else {
        model.dialog = Some(Dialog::Quit);
    }
}

fn move_by(model: &mut Model, lines: isize) {
    let moved = |from: usize, length: usize| from.saturating_add_signed(lines).min(length.saturating_sub(1));
    let pods = model.current_status().map_or(0, |status| status.pods.len());
    match model.pane {
        _ if model.details => model.scroll.pods = moved(model.scroll.pods, pods),
        Pane::Pods => model.scroll.pods = moved(model.scroll.pods, pods),
        Pane::Events => model.scroll.events = moved(model.scroll.events, model.listed_events().count()),
        Pane::Clusters => {
            let to = moved(model.index().unwrap_or(0), model.rows().len());
            let name = model.rows().get(to).map(|row| row.listed.name.clone());
            select(model, name);
        }
    }
}

/// The command that a key means in a state of the cluster, or why there is none.
fn verb_for(code: KeyCode, state: ClusterState) -> Result<Verb, &'static str> {
    use ClusterState::{Broken, Created, Paused, Running, Starting, Stopped, Stopping};
    match (code, state) {
        (KeyCode::Char('s'), Created | Stopped | Broken) => Ok(Verb::Start),
        (KeyCode::Char('s'), Running) => Ok(Verb::Stop),
        (KeyCode::Char('s'), Paused) => Err("is paused; `p` resumes it"),
        (KeyCode::Char('p'), Running) => Ok(Verb::Pause),
        (KeyCode::Char('p'), Paused) => Ok(Verb::Unpause),
        (KeyCode::Char('d'), _) => Ok(Verb::Down),
        (_, Starting) => Err("is starting; wait, or remove it with `d`"),
        (_, Stopping) => Err("is stopping; wait"),
        _ => Err("is not running; `s` starts it"),
    }
}

fn start_job(model: &mut Model, code: KeyCode) -> Option<Job> {
    let current = model.current()?;
    let (name, state) = (current.listed.name.clone(), current.listed.state);
    match verb_for(code, state) {
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
            "`{}` of `{name}` is still running; wait for it",
            job.verb.command()
        )));
        return None;
    }
    let job = Job { verb, name };
    model.jobs.push(job.clone());
    Some(job)
}

#[cfg(test)]
mod tests;
