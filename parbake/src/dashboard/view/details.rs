//! The details of the selected cluster, on the whole screen.

use std::net::SocketAddr;

use parbake_up::Status;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};

use super::style::Palette;
use super::{draw, nodes, pods};
use crate::dashboard::model::{ClusterRow, Model};
use crate::output::size;

pub(super) fn draw(model: &Model, row: &ClusterRow, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let listed = &row.listed;
    let block = palette.block(format!(" {} ", listed.name), false);
    let Some(status) = model.current_status() else {
        frame.render_widget(Paragraph::new("loading").block(block), area);
        return;
    };
    let about = about(model, row, status, palette);
    let lines = u16::try_from(about.len()).unwrap_or(u16::MAX);
    let rows = u16::try_from(status.nodes.len()).unwrap_or(u16::MAX);
    let [top, middle, low] = Layout::vertical([
        Constraint::Length(lines.saturating_add(2).min(area.height / 2)),
        Constraint::Length(rows.saturating_add(3).min(area.height / 3)),
        Constraint::Fill(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(about).wrap(Wrap { trim: true }).block(block), top);
    draw_nodes(model, status, palette, frame, middle);
    draw_pods(model, status, palette, frame, low);
}

fn about<'a>(model: &Model, row: &ClusterRow, status: &Status, palette: Palette) -> Vec<Line<'a>> {
    let listed = &row.listed;
    let age = model.now.duration_since(status.created).as_secs();
    let mut lines = vec![
        Line::from(vec![
            Span::styled(listed.state.to_string(), palette.state(listed.state)),
            Span::raw(format!(
                ", {}, Kubernetes {}, created {} ago",
                status.artifact,
                status.kubernetes,
                draw::age(age)
            )),
        ]),
        Line::raw(format!("artifact {:.19}…", status.digest.to_string())),
    ];
    let usage = status.usage.map(|usage| {
        format!(
            "memory {}, CPU time {:.1} s, ",
            size(usage.memory_bytes),
            usage.cpu_seconds
        )
    });
    let internet = if status.internet { ", internet access" } else { "" };
    let disk = size(status.disk_bytes);
    lines.push(Line::raw(format!(
        "{}disk {disk}{internet}",
        usage.unwrap_or_default()
    )));
    let address = |port: (SocketAddr, SocketAddr)| format!("{} → {}", port.0, port.1);
    let ports: Vec<String> = status
        .ports
        .iter()
        .map(|port| address((port.host, port.cluster)))
        .collect();
    if !ports.is_empty() {
        lines.push(Line::raw(format!("ports {}", ports.join(", "))));
    }
    if let Some(problem) = &status.problem {
        lines.push(Line::styled(
            format!("the API does not answer: {problem}"),
            palette.bad(),
        ));
    }
    lines
}

fn draw_nodes(model: &Model, status: &Status, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let rows = status.nodes.iter().map(|node| {
        let [bytes, cpus] = nodes::usage(model, status, node);
        let style = if node.node.ready {
            palette.good()
        } else {
            palette.bad()
        };
        Row::new([
            Cell::new(node.node.name.as_str()),
            Cell::new(nodes::readiness(status, node)).style(style),
            Cell::new(node.node.roles.join(",")),
            Cell::new(node.node.version.as_str()),
            Cell::new(node.node.address.as_str()),
            Cell::new(format!("{bytes:>6}")),
            Cell::new(format!("{cpus:>4}")),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(13),
        Constraint::Length(9),
        Constraint::Length(15),
        Constraint::Length(6),
        Constraint::Length(4),
    ];
    let header = ["NODE", "STATUS", "ROLES", "VERSION", "ADDRESS", "MEMORY", "CPU"];
    let table = Table::new(rows, widths).header(Row::new(header).style(palette.faint()));
    frame.render_widget(table.block(palette.block(" nodes ".to_owned(), false)), area);
}

fn draw_pods(model: &Model, status: &Status, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let shown = pods::sorted(status).into_iter().skip(model.scroll.pods);
    let rows = shown.map(|pod| {
        Row::new([
            Cell::new(pod.namespace.as_str()),
            Cell::new(pod.name.as_str()),
            Cell::new(format!("{}/{}", pod.ready, pod.containers)),
            Cell::new(pod.state.as_str()).style(pods::style(pod, palette)),
            Cell::new(format!("{:>8}", pod.restarts)),
            Cell::new(pod.node.as_deref().unwrap_or_default()),
            Cell::new(draw::age(pod.age_seconds)),
        ])
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Fill(4),
        Constraint::Length(5),
        Constraint::Length(pods::state_width(status)),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(4),
    ];
    let header = ["NAMESPACE", "POD", "READY", "STATUS", "RESTARTS", "NODE", "AGE"];
    let table = Table::new(rows, widths).header(Row::new(header).style(palette.faint()));
    frame.render_widget(table.block(palette.block(pods::heading(status), true)), area);
}
