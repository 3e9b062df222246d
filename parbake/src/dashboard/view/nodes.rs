//! The chosen cluster's nodes, and its ports.

use parbake_up::{NodeStatus, Status};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::draw::memory;
use super::style::Palette;
use crate::dashboard::model::{Model, Seen};

pub(super) fn draw(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let Some(seen) = model.current() else {
        frame.render_widget(palette.block(" nodes ".to_owned(), false), area);
        return;
    };
    let name = &seen.listed.name;
    let block = palette.block(format!(" nodes of {name} "), false);
    let Some(status) = model.current_status() else {
        frame.render_widget(Paragraph::new("looking").block(block), area);
        return;
    };
    let nodes = status.nodes.iter().map(|node| row(model, status, node, palette));
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(4),
    ];
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let header = Row::new(["NODE", "STATUS", "MEMORY", "CPU"]).style(palette.faint());
    frame.render_widget(Table::new(nodes, widths).header(header), inner);
    draw_ports(status, seen, palette, frame, inner);
}

/// Below the nodes, as far as there is room.
fn draw_ports(status: &Status, seen: &Seen, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let above = u16::try_from(status.nodes.len() + 1).unwrap_or(u16::MAX);
    let room = area.height.saturating_sub(above);
    let lines = status.ports.iter().map(|port| {
        let what = if Some(port.host) == seen.listed.api {
            "API"
        } else {
            "port"
        };
        let host = match port.host.ip().is_loopback() {
            true => format!(":{}", port.host.port()),
            false => port.host.to_string(),
        };
        format!("{what} {host} → {}", port.cluster)
    });
    let problem = status.problem.iter().map(|problem| format!("no API: {problem}"));
    let text = problem.chain(lines).collect::<Vec<_>>().join("\n");
    let style = if status.problem.is_some() {
        palette.busy()
    } else {
        palette.faint()
    };
    let below = Rect {
        y: area.y.saturating_add(above.min(area.height)),
        height: room,
        ..area
    };
    frame.render_widget(Paragraph::new(text).style(style), below);
}

/// How a node is, in a word; nothing where the API is not asked.
pub(super) fn word(status: &Status, node: &NodeStatus) -> &'static str {
    match node.node.ready {
        true => "Ready",
        // Pods are there wherever the API has answered.
        false if status.pods.is_empty() => "",
        false => "NotReady",
    }
}

fn row<'a>(model: &Model, status: &Status, node: &'a NodeStatus, palette: Palette) -> Row<'a> {
    let [bytes, processors] = taken(model, status, node);
    let style = if node.node.ready {
        palette.good()
    } else {
        palette.bad()
    };
    Row::new([
        Cell::new(node.node.name.as_str()),
        Cell::new(word(status, node)).style(style),
        Cell::new(format!("{bytes:>6}")),
        Cell::new(format!("{processors:>4}")),
    ])
}

/// A node's memory and processors.
pub(super) fn taken(model: &Model, status: &Status, node: &NodeStatus) -> [String; 2] {
    let history = model
        .histories
        .get(&format!("{}/{}", status.name, node.node.name));
    let (bytes, processors) = history.map(|history| history.now()).unwrap_or_default();
    let processors = processors.map(|number| format!("{number:.2}"));
    [
        bytes.map(memory).unwrap_or_default(),
        processors.unwrap_or_default(),
    ]
}
