//! The list of clusters.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use super::draw::{curve, memory};
use super::style::Palette;
use crate::dashboard::model::{ClusterRow, Model, Pane};

/// The width of a curve.
const CURVE_WIDTH: usize = 8;

pub(super) fn draw(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let block = palette.block(" clusters ".to_owned(), model.pane == Pane::Clusters);
    if model.rows().is_empty() {
        let text = match &model.clusters {
            None => "loading clusters",
            Some(_) => "no clusters: start one with `parbake up`",
        };
        frame.render_widget(Paragraph::new(text).block(block), area);
        return;
    }
    let rows = model.rows().iter().map(|cluster| row(model, cluster, palette));
    let widths = [
        Constraint::Fill(3),
        Constraint::Length(8),
        Constraint::Length(5),
        Constraint::Length(14),
        Constraint::Length(13),
        Constraint::Fill(4),
    ];
    let header = Row::new(["NAME", "STATE", "NODES", "MEMORY", "CPU", "ARTIFACT"]).style(palette.faint());
    let table = Table::new(rows, widths)
        .header(header)
        .row_highlight_style(palette.selected())
        .block(block);
    let mut state = TableState::new().with_selected(model.index());
    frame.render_stateful_widget(table, area, &mut state);
}

fn row<'a>(model: &Model, cluster: &'a ClusterRow, palette: Palette) -> Row<'a> {
    let listed = &cluster.listed;
    let history = model.histories.get(listed.name.as_str());
    let (bytes, cpus) = history.map(|history| history.last()).unwrap_or_default();
    let curves = history.map(|history| {
        (
            curve(&history.memory, CURVE_WIDTH, 0.0),
            curve(&history.cpu, CURVE_WIDTH, 1.0),
        )
    });
    let (memory_curve, cpu_curve) = curves.unwrap_or_default();
    let bytes = bytes.map(memory).unwrap_or_default();
    let cpus = cpus.map(|number| format!("{number:.2}")).unwrap_or_default();
    Row::new([
        Cell::new(listed.name.as_str()),
        Cell::new(listed.state.to_string()).style(palette.state(listed.state)),
        Cell::new(format!("{:>5}", listed.nodes)),
        Cell::new(format!("{bytes:>5} {memory_curve}")).style(palette.curve()),
        Cell::new(format!("{cpus:>4} {cpu_curve}")).style(palette.curve()),
        Cell::new(listed.artifact.as_str()).style(Style::new()),
    ])
}
