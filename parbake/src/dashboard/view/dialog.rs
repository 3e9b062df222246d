//! What stands in front of everything.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Clear, Paragraph, Wrap};

use super::style::Palette;
use crate::dashboard::model::{Dialog, Model};

const HELP: &str = "\
\x20↑ ↓ j k    choose a cluster, or scroll
 tab        to the pods, the events and back
 enter      all about the cluster, and back
 s          start the cluster, or stop it
 p          pause it, or let it go on
 d          remove it; asks first
 q          quit
 ?          this

 Bars at the lower right grow while a start goes
 on, also one that another command makes.";

pub(super) fn draw(model: &Model, dialog: &Dialog, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let (title, text) = match dialog {
        Dialog::Help => (" help ".to_owned(), HELP.to_owned()),
        Dialog::Down(name) => (
            format!(" remove {name}? "),
            format!(" `{name}` goes with all its data.\n\n y  remove it      any other key  keep it"),
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
                " `{}` of `{}` goes on, and would be cut off.",
                job.verb.word(),
                job.name
            )
        })
        .collect();
    format!("{}\n\n y  quit      any other key  wait", jobs.join("\n"))
}
