//! The selected cluster's pods.

use std::cmp::Reverse;

use parbake_cluster::api::summary::PodSummary;
use parbake_up::Status;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::style::Palette;
use crate::dashboard::model::{Model, Pane};

pub(super) fn draw(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let focused = model.pane == Pane::Pods;
    let status = model.current_status().filter(|status| !status.pods.is_empty());
    let Some(status) = status else {
        let block = palette.block(" pods ".to_owned(), focused);
        let text = if model.current().is_some() { "no pods" } else { "" };
        frame.render_widget(Paragraph::new(text).style(palette.faint()).block(block), area);
        return;
    };
    let block = palette.block(heading(status), focused);
    let rows = sorted(status).into_iter().skip(model.scroll.pods).map(|pod| {
        Row::new([
            Cell::new(pod.name.as_str()),
            Cell::new(format!("{}/{}", pod.ready, pod.containers)),
            Cell::new(pod.state.as_str()).style(style(pod, palette)),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(5),
        Constraint::Length(state_width(status).min(12)),
    ];
    let header = Row::new(["POD", "READY", "STATUS"]).style(palette.faint());
    frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
}

/// The title, with the number of pods.
pub(super) fn heading(status: &Status) -> String {
    let ready = status.pods.iter().filter(|pod| is_healthy(pod)).count();
    format!(
        " pods of {}, {ready} of {} ready ",
        status.name,
        status.pods.len()
    )
}

/// The width of the column with states.
pub(super) fn state_width(status: &Status) -> u16 {
    let longest = status.pods.iter().map(|pod| pod.state.len()).max();
    u16::try_from(longest.unwrap_or(0).clamp(7, 17)).unwrap_or(17)
}

/// Pods with problems first, then those of users.
pub(super) fn sorted(status: &Status) -> Vec<&PodSummary> {
    let mut pods: Vec<&PodSummary> = status.pods.iter().collect();
    pods.sort_by_key(|pod| (is_healthy(pod), Reverse(pod.namespace != "kube-system")));
    pods
}

fn is_healthy(pod: &PodSummary) -> bool {
    (pod.ready == pod.containers && pod.state == "Running") || is_done(pod)
}

fn is_done(pod: &PodSummary) -> bool {
    ["Succeeded", "Completed"].contains(&pod.state.as_str())
}

/// The style of a pod's state.
pub(super) fn style(pod: &PodSummary, palette: Palette) -> Style {
    match pod.state.as_str() {
        _ if is_done(pod) => palette.faint(),
        _ if is_healthy(pod) => palette.good(),
        "Running" | "Pending" | "ContainerCreating" | "PodInitializing" | "Terminating" => palette.busy(),
        _ => palette.bad(),
    }
}
