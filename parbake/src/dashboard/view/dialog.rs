//! Dialogs in front of everything.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Clear, Paragraph, Wrap};

use super::style::Palette;
use crate::dashboard::model::{Dialog, Model};

const HELP: &str = "\
\x20↑ ↓ j k    select a cluster, or scroll
 tab        switch between clusters, pods, events
 enter      details of the cluster, and back
 s          start or stop the cluster
 p          pause or resume it
 d          remove it, after confirmation
 q          quit
 ?          this help

 The bars at the lower right show the last start,
 also of another command.";

pub(super) fn draw(model: &Model, dialog: &Dialog, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let (title, text) = match dialog {
        Dialog::Help => (" help ".to_owned(), HELP.to_owned()),
        Dialog::Down(name) => (
            format!(" remove {name}? "),
            format!(" `{name}` and all its data are removed.\n\n y  remove it      any other key  keep it"),
        ),
        Dialog::Quit => (" quit? ".to_owned(), quit(model)),
    };
    let lines = u16::try_from(text.lines().count()).unwrap_or(u16::MAX);
    let place = area.centered(
        Constraint::Length(54.min(area.width)),
        Constraint::Length(lines.saturating_add(2).min(area.height)),
    );
    frame.render_widget(Clear, place);
    let text = Paragraph::new(text).wrap(Wrap { trim: false });
    frame.render_widget(text.block(palette.block(title, true)), place);
}

fn quit(model: &Model) -> String {
    let jobs = model.jobs.iter();
    let jobs: Vec<String> = jobs
        .map(|job| {
            format!(
                " `{}` of `{}` is running, and would be killed.",
                job.verb.command(),
                job.name
            )
        })
        .collect();
    format!("{}\n\n y  quit      any other key  wait", jobs.join("\n"))
}
