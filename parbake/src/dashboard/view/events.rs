//! The event log, newest first.

use parbake_up::ClusterName;
use parbake_up::events::{Event, EventKind};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::draw::age;
use super::style::Palette;
use crate::dashboard::model::{Model, Pane};

pub(super) fn draw(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let block = palette.block(" events ".to_owned(), model.pane == Pane::Events);
    if model.listed_events().next().is_none() {
        let text = Paragraph::new("no events").style(palette.faint());
        frame.render_widget(text.block(block), area);
        return;
    }
    let newest = model.listed_events().rev().skip(model.scroll.events);
    let rows = newest.map(|event| row(model, event, palette));
    let longest = model.rows().iter().map(|row| row.listed.name.as_str().len());
    let name = u16::try_from(longest.max().unwrap_or(0).clamp(4, 8)).unwrap_or(8);
    let widths = [
        Constraint::Length(3),
        Constraint::Length(name),
        Constraint::Fill(1),
    ];
    frame.render_widget(Table::new(rows, widths).block(block), area);
}

fn row<'a>(model: &Model, event: &'a Event, palette: Palette) -> Row<'a> {
    let elapsed = model.now.duration_since(event.time).as_secs();
    let cluster = event.cluster.as_ref().map_or("", ClusterName::as_str);
    Row::new([
        Cell::new(format!("{:>3}", age(elapsed))).style(palette.faint()),
        Cell::new(cluster),
        Cell::new(event.kind.to_string()).style(style(&event.kind, palette)),
    ])
}

fn style(what: &EventKind, palette: Palette) -> Style {
    match what {
        EventKind::Failed { .. } => palette.bad(),
        EventKind::Ready { .. } | EventKind::NodesAdded { .. } => palette.good(),
        EventKind::Starting { .. } => palette.busy(),
        _ => Style::new(),
    }
}
