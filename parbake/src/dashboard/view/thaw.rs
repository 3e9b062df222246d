//! The last start of the selected cluster: a bar for each milestone, which grows until it is reached.

use parbake_cluster::readiness::Milestone;
use parbake_up::events::{Start, StartState};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::draw::{bar, open_bar};
use super::style::Palette;
use crate::dashboard::model::Model;

/// In their usual order.
const MILESTONES: [Milestone; 4] = [Milestone::Api, Milestone::Nodes, Milestone::Dns, Milestone::Pods];
/// Columns before and after a bar.
const LABEL: usize = 13;
const SECONDS: usize = 8;
/// The shortest time that fills the width, in seconds.
const MINIMUM_SCALE: f64 = 5.0;

pub(super) fn draw(model: &Model, palette: Palette, frame: &mut Frame<'_>, area: Rect) {
    let Some(start) = model.start() else {
        let block = palette.block(" last start ".to_owned(), false);
        let text = Paragraph::new("unknown").style(palette.faint());
        frame.render_widget(text.block(block), area);
        return;
    };
    let elapsed = model.elapsed(&start);
    let block = palette.block(heading(&start, elapsed), false);
    let width = usize::from(block.inner(area).width).saturating_sub(LABEL + SECONDS);
    let text = Paragraph::new(lines(&start, elapsed, width, palette));
    let text = text.wrap(Wrap { trim: false });
    frame.render_widget(text.block(block), area);
}

fn heading(start: &Start, elapsed: Option<f64>) -> String {
    match (&start.state, elapsed) {
        (StartState::Open, Some(seconds)) => format!(" starting, {seconds:.1} s "),
        (StartState::Open, None) => " last start interrupted ".to_owned(),
        (StartState::Ready(seconds), _) => format!(" ready after {seconds:.1} s "),
        (StartState::Failed(_), _) => " last start failed ".to_owned(),
        (StartState::Ended, _) => " last start cancelled ".to_owned(),
    }
}

fn lines<'a>(start: &Start, elapsed: Option<f64>, width: usize, palette: Palette) -> Vec<Line<'a>> {
    let longest = start.passed.iter().map(|(_, seconds)| *seconds);
    let ready = match start.state {
        StartState::Ready(seconds) => Some(seconds),
        _ => None,
    };
    let scale = longest.chain(elapsed).chain(ready).fold(MINIMUM_SCALE, f64::max);
    let line = |label: String, passed: Option<f64>| {
        let (bar, seconds, style) = match (passed, elapsed) {
            (Some(seconds), _) => (
                bar(seconds / scale, width),
                format!("{seconds:.1} s"),
                palette.good(),
            ),
            (None, Some(seconds)) => (open_bar(seconds / scale, width), "…".to_owned(), palette.busy()),
            (None, None) => (String::new(), "-".to_owned(), palette.faint()),
        };
        Line::from(vec![
            Span::raw(format!("{label:<LABEL$}")),
            Span::styled(format!("{bar:<width$}"), style),
            Span::styled(format!("{seconds:>SECONDS$}"), Style::new()),
        ])
    };
    let passed = |milestone| {
        let found = start.passed.iter().find(|(other, _)| *other == milestone);
        found.map(|(_, seconds)| *seconds)
    };
    let mut lines: Vec<Line<'a>> = MILESTONES
        .into_iter()
        .map(|milestone| line(milestone.to_string(), passed(milestone)))
        .collect();
    match &start.state {
        StartState::Failed(reason) => lines.push(Line::styled(reason.clone(), palette.bad())),
        _ => lines.push(line("all ready".to_owned(), ready)),
    }
    lines
}
