//! Whole screens are in `screens/`; `SNAPSHOTS=overwrite cargo test -p parbake dashboard` updates them.

use std::path::Path;

use parbake_up::ClusterState;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use snapbox::{Assert, Data};

use super::view;
use crate::dashboard::model::{Model, Note};
use crate::dashboard::samples::{event, fresh, model, now, start};
use crate::dashboard::update::{Message, update};

fn draw(model: &Model, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(model, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width);
    let line = |row: &[ratatui::buffer::Cell]| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    };
    rows.map(line).collect()
}

fn press(model: &mut Model, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            key => KeyCode::Char(key),
        };
        update(model, Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
}

/// A model with a cluster in `state` and these events.
fn with(state: ClusterState, events: Vec<parbake_up::events::Event>) -> Model {
    let mut model = model(state);
    update(&mut model, Message::Events(events));
    model
}

fn screens() -> Vec<(&'static str, Model)> {
    let running = || with(ClusterState::Running, start(125, 5));
    let mut help = running();
    press(&mut help, "?");
    let mut down = running();
    press(&mut down, "\td");
    let mut details = running();
    press(&mut details, "\n");
    let mut failed = with(ClusterState::Broken, start(60, 2));
    let reason = "the cluster was not ready after 120 s";
    let line = format!(r#""cluster":"ci","event":"failed","reason":"{reason}""#);
    update(&mut failed, Message::Events(vec![event(3, &line)]));
    failed.note = Some(Note {
        text: format!("`start` of `ci` failed: {reason}"),
        is_error: true,
    });
    let mut stopped = running();
    press(&mut stopped, "j");
    let mut empty = fresh();
    update(&mut empty, Message::Clusters(now(), Ok(Vec::new())));
    vec![
        ("running", running()),
        ("starting", with(ClusterState::Starting, start(3, 2))),
        ("failed", failed),
        ("stopped", stopped),
        ("details", details),
        ("help", help),
        ("down", down),
        ("empty", empty),
        ("loading", fresh()),
    ]
}

#[test]
fn screens_match_their_snapshots() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/view/screens");
    for (name, model) in screens() {
        let expected = Data::read_from(&dir.join(format!("{name}.txt")), None);
        let drawn = text(&draw(&model, 80, 24));
        Assert::new()
            .action_env(snapbox::assert::DEFAULT_ACTION_ENV)
            .eq(drawn, expected.raw());
    }
}

#[test]
fn colours_can_be_disabled() {
    for (name, mut model) in screens() {
        let colours = |model: &Model| {
            let drawn = draw(model, 80, 24);
            let cells = drawn.content.iter();
            cells
                .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
                .count()
        };
        assert!(colours(&model) > 0, "{name}");
        let before = text(&draw(&model, 80, 24));
        model.colour = false;
        assert_eq!(colours(&model), 0, "{name}");
        assert_eq!(text(&draw(&model, 80, 24)), before, "{name}");
    }
}

#[test]
fn every_size_is_drawn_without_panic() {
    for (name, model) in screens() {
        for (width, height) in [
            (1, 1),
            (39, 12),
            (40, 11),
            (40, 12),
            (60, 15),
            (200, 60),
            (80, 500),
            (500, 12),
        ] {
            let drawn = text(&draw(&model, width, height));
            let small = width < 40 || height < 12;
            let is_complete = !drawn.contains("small") && drawn.trim() != "1";
            assert_eq!(is_complete, !small, "{name} {width}x{height}: {drawn}");
        }
    }
}

#[test]
fn bars_grow_until_their_milestone_is_reached() {
    let length = |model: &Model, label: &str, block: char| {
        let drawn = text(&draw(model, 80, 24));
        let line = drawn
            .lines()
            .find(|line| line.contains(label))
            .unwrap()
            .to_owned();
        line.chars().filter(|character| *character == block).count()
    };
    let early = with(ClusterState::Starting, start(1, 1));
    let late = with(ClusterState::Starting, start(3, 1));
    let [first, second] = [&early, &late].map(|model| length(model, "pods ready", '░'));
    assert!(first > 0 && second > first, "{first}, {second}");
    let [first, second] = [&early, &late].map(|model| length(model, "API answers", '█'));
    assert!(first > 0 && second == first, "{first}, {second}");
    // A start that was killed does not grow.
    let interrupted = with(ClusterState::Stopped, start(60, 1));
    assert_eq!(length(&interrupted, "pods ready", '░'), 0);
    assert!(text(&draw(&interrupted, 80, 24)).contains("last start interrupted"));
}
