//! The picture of a model.
//!
//! ```text
//! parbake   2 clusters, 1 running                    <- what there is in all
//! ┏ clusters ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
//! ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
//! ╭ nodes of ci ───────╮╭ pods of ci ──────────────╮
//! ╰────────────────────╯╰──────────────────────────╯
//! ╭ events ────────────╮╭ last start of ci ────────╮
//! ╰────────────────────╯╰──────────────────────────╯
//! keys, or what there is to say
//! ```

mod clusters;
mod details;
mod dialog;
mod draw;
mod events;
mod nodes;
mod pods;
mod style;
mod thaw;

use parbake_up::ClusterState;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::model::Model;
use style::Palette;

/// The smallest screen that has room for anything.
const SMALLEST: (u16, u16) = (40, 12);

/// Draws the model.
pub(super) fn view(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    let palette = Palette { colour: model.colour };
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!("{}x{} is too small", area.width, area.height);
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    title(model, palette, frame, top);
    match model.current() {
        Some(seen) if model.details => details::draw(model, seen, palette, frame, middle),
        _ => overview(model, palette, frame, middle),
    }
    last_line(model, palette, frame, bottom);
    if let Some(dialog) = &model.dialog {
        dialog::draw(model, dialog, palette, frame, area);
    }
}

fn overview(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let most = (area.height / 4).max(4);
    let rows = u16::try_from(model.seen().len()).unwrap_or(u16::MAX);
    let list = rows.saturating_add(3).clamp(4, most.max(6));
    let [list, middle, low] = Layout::vertical([
        Constraint::Length(list),
        Constraint::Fill(1),
        Constraint::Length(8),
    ])
    .areas(area);
    clusters::draw(model, palette, frame, list);
    let [left, right] = columns(middle);
    nodes::draw(model, palette, frame, left);
    pods::draw(model, palette, frame, right);
    let [left, right] = columns(low);
    events::draw(model, palette, frame, left);
    thaw::draw(model, palette, frame, right);
}

fn columns(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Percentage(46), Constraint::Fill(1)]).areas(area)
}

fn title(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let seen = model.seen();
    let running = seen
        .iter()
        .filter(|seen| seen.listed.state == ClusterState::Running)
        .count();
    let number = match (&model.clusters, seen.len()) {
        (None, _) => "looking".to_owned(),
        (Some(_), number) => format!("{}, {running} running", crate::output::count(number, "cluster")),
    };
    let now = seen
        .iter()
        .filter_map(|seen| model.histories.get(seen.listed.name.as_str()));
    let now: Vec<_> = now.map(|history| history.now()).collect();
    let bytes: f64 = now.iter().filter_map(|(bytes, _)| *bytes).sum();
    let processors: f64 = now.iter().filter_map(|(_, processors)| *processors).sum();
    let left = Line::from(vec![
        Span::styled(" parbake ", palette.chosen().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {number}")),
    ]);
    frame.render_widget(left, area);
    if !now.is_empty() {
        let right = format!("memory {}  processors {processors:.1} ", draw::memory(bytes));
        frame.render_widget(Line::raw(right).right_aligned(), area);
    }
}

fn last_line(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let line = if let Some(problem) = &model.trouble {
        Line::styled(format!(" {problem}"), palette.bad())
    } else if let Some(note) = &model.note {
        let style = if note.bad { palette.bad() } else { Style::new() };
        Line::styled(format!(" {}", note.text), style)
    } else if let Some(job) = model.jobs.first() {
        Line::styled(
            format!(" `{}` of `{}` is at work", job.verb.word(), job.name),
            palette.busy(),
        )
    } else {
        let more = if model.details {
            "enter back"
        } else {
            "tab  enter details"
        };
        let keys = format!(" ↑↓ choose  {more}  s start/stop  p pause  d down  ? help  q quit");
        Line::styled(keys, palette.faint())
    };
    frame.render_widget(line, area);
}

#[cfg(test)]
mod tests;
