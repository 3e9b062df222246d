//! The real binary, without a cluster: help, wrong usage, bad input. Exact output is in `cmd/`; after a wanted change
//! `TRYCMD=overwrite cargo test -p parbake --test command_line` writes it anew.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const PARBAKE: &str = env!("CARGO_BIN_EXE_parbake");

fn run(command: &mut Command) -> Output {
    command.output().expect("the program exists")
}

/// Runs parbake with its state in `dir`.
fn parbake(dir: &Path, args: &[&str]) -> Output {
    run(Command::new(PARBAKE).args(args).env("PARBAKE_DIR", dir))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("parbake prints UTF-8")
}

#[test]
fn exact_output() {
    let dir = tempfile::tempdir().unwrap();
    trycmd::TestCases::new()
        .env("PARBAKE_DIR", dir.path().join("state").to_str().unwrap())
        .env("PARBAKE_CACHE", dir.path().join("cache").to_str().unwrap())
        .env("PARBAKE_PROVIDERS", "tests/providers")
        .case("tests/cmd/*.trycmd");
}

#[test]
fn doctor_reports_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let output = parbake(dir.path(), &["doctor", "--output", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert!(
        checks
            .iter()
            .all(|check| check["name"].is_string() && check["found"].is_string())
    );
    let failed = checks.iter().any(|check| check["status"] == "failed");
    assert_eq!(
        (report["ready"].as_bool(), output.status.code()),
        (Some(!failed), Some(i32::from(failed)))
    );
    assert_eq!(report["purpose"], "all");
    assert_eq!(report["host"]["state_dir"]["path"], dir.path().to_str().unwrap());
    assert!(report["decisions"]["restrict_oom_score_adj"].is_boolean());
}

#[test]
fn doctor_finds_what_this_host_needs() {
    let dir = tempfile::tempdir().unwrap();
    let output = parbake(dir.path(), &["doctor", "--for", "provision"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "doctor leaves nothing behind"
    );
}

#[test]
fn an_ordinary_user_is_told_to_be_root() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where the build put it may be closed to others.
    let program = dir.path().join("parbake");
    fs::copy(PARBAKE, &program).unwrap();
    let mut nobody = Command::new("setpriv");
    nobody
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .env("PARBAKE_DIR", dir.path());
    let output = run(nobody.arg("doctor"));
    let line = "FAILED   user             not root\n";
    let remedy = "-> run parbake as root, for instance with `sudo`\n";
    assert!(text(&output.stdout).starts_with(line), "{output:?}");
    assert!(text(&output.stdout).contains(remedy), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_store_of_another_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("store/oci-layout");
    fs::create_dir_all(layout.parent().unwrap()).unwrap();
    let content = r#"{"imageLayoutVersion":"9.0.0"}"#;
    fs::write(&layout, content).unwrap();
    let output = parbake(dir.path(), &["artifact", "list"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    let error = text(&output.stderr);
    assert!(error.starts_with("error: ") && error.contains("9.0.0"), "{error}");
    assert_eq!(fs::read_to_string(&layout).unwrap(), content);
}

/// Runs parbake in a project below `dir`, whose `parbake.toml` has `text`.
fn in_project(dir: &Path, text: &str, args: &[&str]) -> (Option<i32>, String) {
    let project = dir.join("project");
    let below = project.join("below");
    fs::create_dir_all(&below).expect("a temporary directory");
    fs::write(project.join("parbake.toml"), text).expect("a temporary directory");
    let mut command = Command::new(PARBAKE);
    command
        .args(args)
        .current_dir(below)
        .env("PARBAKE_DIR", dir.join("state"));
    let output = run(&mut command);
    (output.status.code(), text_of(&output.stderr))
}

fn text_of(bytes: &[u8]) -> String {
    text(bytes).to_owned()
}

#[test]
fn without_a_pin_up_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for (args, said) in [
        (
            &["up"][..],
            "or pin one for this project with `parbake pin REFERENCE`",
        ),
        (
            &["pin", "--update"][..],
            "or above it; `parbake pin REFERENCE` makes one",
        ),
    ] {
        let mut command = Command::new(PARBAKE);
        command
            .args(args)
            .current_dir(dir.path())
            .env("PARBAKE_DIR", dir.path().join("state"));
        let output = run(&mut command);
        let error = text_of(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.starts_with("error: ") && error.contains(said), "{error}");
    }
    assert!(!dir.path().join("parbake.toml").exists());
}

#[test]
fn a_pin_that_is_wrong_is_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("artifact = 1\n", "line 1, column 12: invalid type"),
        (
            "artifact = \"k8s-1.34\"\n",
            "line 1, column 12: `k8s-1.34` is no reference",
        ),
        (
            "artifact = \"localhost/a\"\nextra = 1\n",
            "line 2, column 1: unknown field `extra`",
        ),
        ("", "line 1, column 1: missing field `artifact`"),
    ];
    for (text, said) in cases {
        for args in [&["up"][..], &["pin", "--update"][..]] {
            let (code, error) = in_project(dir.path(), text, args);
            assert_eq!(code, Some(1), "{error}");
            assert!(
                error.contains(said) && error.contains("project/parbake.toml`, line"),
                "{error}"
            );
            assert_eq!(error.matches("error: ").count(), 1, "{error}");
        }
    }
    let (code, error) = in_project(dir.path(), "artifact = \"localhost/a\"\n", &["up"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("without a digest") && error.contains("`parbake pin --update` adds it"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let script = format!("set -o pipefail; {PARBAKE} completion bash | head -1");
    let output = run(Command::new("bash").args(["-c", &script]));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    let output = parbake(dir.path(), &["man", pages.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    for name in [
        "parbake",
        "parbake-up",
        "parbake-image-load",
        "parbake-artifact-list",
    ] {
        let page = fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
    }
    let page = fs::read_to_string(pages.join("parbake-cp.1")).unwrap();
    assert!(
        page.contains("Copy files and directories into a node or out of it"),
        "{page}"
    );
    assert!(!pages.join("parbake-supervise.1").exists());
}
