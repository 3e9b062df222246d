//! The selected cluster's nodes and ports.

use parbake_up::{NodeStatus, Status};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::draw::memory;
use super::style::Palette;
use crate::dashboard::model::{ClusterRow, Model};

pub(super) fn draw(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let Some(cluster) = model.current() else {
        frame.render_widget(palette.block(" nodes ".to_owned(), false), area);
        return;
    };
    let name = &cluster.listed.name;
    let block = palette.block(format!(" nodes of {name} "), false);
    let Some(status) = model.current_status() else {
        frame.render_widget(Paragraph::new("loading").block(block), area);
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
    draw_ports(status, cluster, palette, frame, inner);
}

/// Draws the ports below the nodes, as far as there is room.
fn draw_ports(status: &Status, cluster: &ClusterRow, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let above = u16::try_from(status.nodes.len() + 1).unwrap_or(u16::MAX);
    let room = area.height.saturating_sub(above);
    let lines = status.ports.iter().map(|port| {
        let kind = if Some(port.host) == cluster.listed.api {
            "API"
        } else {
            "port"
        };
        let host = match port.host.ip().is_loopback() {
            true => format!(":{}", port.host.port()),
            false => port.host.to_string(),
        };
        format!("{kind} {host} → {}", port.cluster)
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

/// Whether a node is ready; empty if the API did not answer.
pub(super) fn readiness(status: &Status, node: &NodeStatus) -> &'static str {
    match node.node.ready {
        true => "Ready",
        // Every API that answers has pods.
        false if status.pods.is_empty() => "",
        false => "NotReady",
    }
}

fn row<'a>(model: &Model, status: &Status, node: &'a NodeStatus, palette: Palette) -> Row<'a> {
    let [bytes, cpus] = usage(model, status, node);
    let style = if node.node.ready {
        palette.good()
    } else {
        palette.bad()
    };
    Row::new([
        Cell::new(node.node.name.as_str()),
        Cell::new(readiness(status, node)).style(style),
        Cell::new(format!("{bytes:>6}")),
        Cell::new(format!("{cpus:>4}")),
    ])
}

/// A node's memory and CPUs.
pub(super) fn usage(model: &Model, status: &Status, node: &NodeStatus) -> [String; 2] {
    let history = model
        .histories
        .get(&format!("{}/{}", status.name, node.node.name));
    let (bytes, cpus) = history.map(|history| history.last()).unwrap_or_default();
    let cpus = cpus.map(|number| format!("{number:.2}"));
    [bytes.map(memory).unwrap_or_default(), cpus.unwrap_or_default()]
}
