//! Draws a model.
//!
//! ```text
//! parbake   2 clusters, 1 running                    <- totals
//! ┏ clusters ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
//! ┗━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┛
//! ╭ nodes of ci ───────╮╭ pods of ci ──────────────╮
//! ╰────────────────────╯╰──────────────────────────╯
//! ╭ events ────────────╮╭ last start of ci ────────╮
//! ╰────────────────────╯╰──────────────────────────╯
//! keys, or a message
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

/// The minimum width and height.
const MINIMUM: (u16, u16) = (40, 12);

pub(super) fn view(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    let palette = Palette { colour: model.colour };
    if area.width < MINIMUM.0 || area.height < MINIMUM.1 {
        let text = format!("{}x{} is too small", area.width, area.height);
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    title(model, palette, frame, top);
    match model.current() {
        Some(row) if model.details => details::draw(model, row, palette, frame, middle),
        _ => overview(model, palette, frame, middle),
    }
    last_line(model, palette, frame, bottom);
    if let Some(dialog) = &model.dialog {
        dialog::draw(model, dialog, palette, frame, area);
    }
}

fn overview(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let limit = (area.height / 4).max(4);
    let rows = u16::try_from(model.rows().len()).unwrap_or(u16::MAX);
    let list = rows.saturating_add(3).clamp(4, limit.max(6));
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
    let rows = model.rows();
    let running = rows
        .iter()
        .filter(|row| row.listed.state == ClusterState::Running)
        .count();
    let number = match (&model.clusters, rows.len()) {
        (None, _) => "loading".to_owned(),
        (Some(_), number) => format!("{}, {running} running", crate::output::count(number, "cluster")),
    };
    let last = rows
        .iter()
        .filter_map(|row| model.histories.get(row.listed.name.as_str()));
    let last: Vec<_> = last.map(|history| history.last()).collect();
    let bytes: f64 = last.iter().filter_map(|(bytes, _)| *bytes).sum();
    let cpus: f64 = last.iter().filter_map(|(_, cpus)| *cpus).sum();
    let left = Line::from(vec![
        Span::styled(" parbake ", palette.selected().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {number}")),
    ]);
    frame.render_widget(left, area);
    if !last.is_empty() {
        let right = format!("memory {}  CPUs {cpus:.1} ", draw::memory(bytes));
        frame.render_widget(Line::raw(right).right_aligned(), area);
    }
}

fn last_line(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let line = if let Some(problem) = &model.list_error {
        Line::styled(format!(" {problem}"), palette.bad())
    } else if let Some(note) = &model.note {
        let style = if note.is_error {
            palette.bad()
        } else {
            Style::new()
        };
        Line::styled(format!(" {}", note.text), style)
    } else if let Some(job) = model.jobs.first() {
        Line::styled(
            format!(" `{}` of `{}` is running", job.verb.command(), job.name),
            palette.busy(),
        )
    } else {
        let more = if model.details {
            "enter back"
        } else {
            "tab  enter details"
        };
        let keys = format!(" ↑↓ select  {more}  s start/stop  p pause  d down  ? help  q quit");
        Line::styled(keys, palette.faint())
    };
    frame.render_widget(line, area);
}

#[cfg(test)]
mod tests;
