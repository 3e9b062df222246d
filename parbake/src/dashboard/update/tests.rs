use parbake_up::ClusterState;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Message, update};
use crate::dashboard::model::{Dialog, Ended, Job, Model, Pane, Verb};
use crate::dashboard::samples::{cluster, event, model, now, status};

fn press(model: &mut Model, code: KeyCode) -> Option<Job> {
    update(model, Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

/// Presses keys: `\n` is enter, `\t` tab, `<` escape.
fn type_in(model: &mut Model, keys: &str) -> Vec<Job> {
    let code = |key| match key {
        '\n' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '<' => KeyCode::Esc,
        key => KeyCode::Char(key),
    };
    keys.chars().filter_map(|key| press(model, code(key))).collect()
}

fn selected(model: &Model) -> &str {
    model.selected.as_ref().map_or("", |name| name.as_str())
}

#[test]
fn arrow_keys_select_a_cluster_within_the_list() {
    let cases = [
        ("", "ci"),
        ("j", "default"),
        ("jj", "big-one"),
        ("jjjj", "big-one"),
        ("jjk", "default"),
        ("kk", "ci"),
    ];
    for (keys, expected) in cases {
        let mut model = model(ClusterState::Running);
        type_in(&mut model, keys);
        assert_eq!(selected(&model), expected, "{keys}");
    }
}

#[test]
fn keys_start_only_commands_that_the_state_allows() {
    use ClusterState::{Broken, Created, Paused, Running, Starting, Stopped, Stopping};
    let cases = [
        (Created, Some(Verb::Start), None),
        (Stopped, Some(Verb::Start), None),
        (Broken, Some(Verb::Start), None),
        (Running, Some(Verb::Stop), Some(Verb::Pause)),
        (Paused, None, Some(Verb::Unpause)),
        (Starting, None, None),
        (Stopping, None, None),
    ];
    for (state, s, p) in cases {
        for (key, expected) in [("s", s), ("p", p)] {
            let mut model = model(state);
            let jobs = type_in(&mut model, key);
            assert_eq!(jobs.first().map(|job| job.verb), expected, "{key} of {state}");
            assert_eq!(model.note.is_some(), expected.is_none(), "{key} of {state}");
            assert_eq!(model.jobs, jobs);
        }
    }
}

#[test]
fn cluster_is_removed_only_after_confirmation() {
    for (keys, removed) in [
        ("dy", true),
        ("dY", true),
        ("dn", false),
        ("d\n", false),
        ("d<y", false),
        ("dq", false),
    ] {
        let mut model = model(ClusterState::Running);
        let jobs = type_in(&mut model, keys);
        let expected = Job {
            verb: Verb::Down,
            name: "ci".parse().unwrap(),
        };
        assert_eq!(jobs, if removed { vec![expected] } else { Vec::new() }, "{keys}");
        assert_eq!((&model.dialog, &model.ended), (&None, &None), "{keys}");
    }
    let mut model = model(ClusterState::Running);
    type_in(&mut model, "jd");
    assert_eq!(model.dialog, Some(Dialog::Down("default".parse().unwrap())));
}

#[test]
fn cluster_has_one_command_at_a_time() {
    let mut model = model(ClusterState::Running);
    let [job] = <[Job; 1]>::try_from(type_in(&mut model, "ss")).unwrap();
    assert_eq!(
        model.note.as_ref().unwrap().text,
        "`stop` of `ci` is still running; wait for it"
    );
    // Another cluster may have one at the same time.
    assert_eq!(type_in(&mut model, "js").len(), 1);
    update(&mut model, Message::Done(job, Err("it is busy".to_owned())));
    let note = model.note.as_ref().unwrap();
    assert_eq!(
        (note.text.as_str(), note.is_error),
        ("`stop` of `ci` failed: it is busy", true)
    );
    assert_eq!(type_in(&mut model, "ks").len(), 1);
}

#[test]
fn quitting_asks_only_while_a_command_runs() {
    let ctrl_c = || Message::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    for (keys, ended) in [
        ("q", true),
        ("?q", false),
        ("?xq", true),
        ("sq", false),
        ("sqn", false),
        ("sqy", true),
    ] {
        let mut model = model(ClusterState::Running);
        type_in(&mut model, keys);
        assert_eq!(model.ended == Some(Ended::Quit), ended, "{keys}");
    }
    let mut model = model(ClusterState::Running);
    type_in(&mut model, "s");
    update(&mut model, ctrl_c());
    assert_eq!((&model.dialog, &model.ended), (&Some(Dialog::Quit), &None));
    update(&mut model, ctrl_c());
    assert_eq!(model.ended, Some(Ended::Quit));
}

#[test]
fn quit_dialog_closes_when_the_last_command_ends() {
    let mut model = model(ClusterState::Running);
    let [job] = <[Job; 1]>::try_from(type_in(&mut model, "sq")).unwrap();
    update(&mut model, Message::Done(job, Ok(())));
    assert_eq!((&model.dialog, &model.ended), (&None, &None));
}

#[test]
fn arrow_keys_scroll_the_focused_pane() {
    let cases = [
        ("\tjj", Pane::Pods, (2, 0)),
        ("\tjjjjjjjjjjjjj", Pane::Pods, (5, 0)),
        ("\tjk\tjj", Pane::Events, (0, 2)),
        ("\t\tjjjjjjj", Pane::Events, (0, 3)),
        ("\t\t\t", Pane::Clusters, (0, 0)),
        ("\njjj", Pane::Clusters, (3, 0)),
        ("\tj\t\tj", Pane::Clusters, (0, 0)),
    ];
    for (keys, pane, (pods, events)) in cases {
        let mut model = model(ClusterState::Running);
        let paused = |ago| event(ago, r#""cluster":"ci","event":"paused""#);
        update(&mut model, Message::Events((0..4).map(paused).collect()));
        type_in(&mut model, keys);
        assert_eq!(model.pane, pane, "{keys:?}");
        assert_eq!(
            (model.scroll.pods, model.scroll.events),
            (pods, events),
            "{keys:?}"
        );
    }
}

#[test]
fn details_open_and_close() {
    for (keys, details) in [
        ("\n", true),
        ("\n\n", false),
        ("\n<", false),
        ("<", false),
        ("\n\t", true),
    ] {
        let mut model = model(ClusterState::Running);
        type_in(&mut model, keys);
        assert_eq!(model.details, details, "{keys:?}");
    }
}

#[test]
fn another_cluster_is_selected_when_the_selected_one_is_removed() {
    let mut model = model(ClusterState::Running);
    type_in(&mut model, "j\n");
    let remaining = |names: &[&str]| {
        let rows = names
            .iter()
            .map(|name| cluster(name, ClusterState::Running, None));
        Message::Clusters(now(), Ok(rows.collect()))
    };
    update(&mut model, remaining(&["ci", "big-one"]));
    assert_eq!((selected(&model), model.details), ("big-one", true));
    assert!(
        model.current_status().is_none(),
        "the status is that of another cluster"
    );
    update(&mut model, remaining(&["ci"]));
    assert_eq!(selected(&model), "ci");
    update(&mut model, remaining(&[]));
    assert_eq!((selected(&model), model.details), ("", false));
    assert!(model.histories.is_empty());
    for key in "jksdp\n".chars() {
        assert!(type_in(&mut model, &key.to_string()).is_empty());
    }
    assert!(!model.details);
    update(&mut model, remaining(&["ci"]));
    assert_eq!(selected(&model), "ci");
}

#[test]
fn signals_and_a_broken_terminal_end_the_dashboard() {
    let mut model = model(ClusterState::Running);
    update(&mut model, Message::Signal(15));
    assert_eq!(model.ended, Some(Ended::Signal(15)));
    update(&mut model, Message::Broken("gone".to_owned()));
    assert_eq!(model.ended, Some(Ended::Broken("gone".to_owned())));
}

#[test]
fn list_error_disappears_after_a_successful_poll() {
    let mut model = model(ClusterState::Running);
    update(&mut model, Message::Clusters(now(), Err("damaged".to_owned())));
    assert_eq!(
        (model.list_error.as_deref(), model.rows().len()),
        (Some("damaged"), 3)
    );
    update(&mut model, Message::Clusters(now(), Ok(Vec::new())));
    assert_eq!(model.list_error, None);
}

#[test]
fn only_the_last_events_are_kept() {
    let mut model = model(ClusterState::Running);
    for ago in (0..1500).rev() {
        update(
            &mut model,
            Message::Events(vec![event(ago, r#""event":"paused""#)]),
        );
    }
    update(
        &mut model,
        Message::Status(now(), Box::new(status(ClusterState::Running, 11.0))),
    );
    assert_eq!(model.events.len(), super::MAX_EVENTS);
    assert_eq!(model.events.back().unwrap().time, now());
}
