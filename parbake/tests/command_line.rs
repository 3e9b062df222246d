//! The binary without a cluster: help, usage errors, bad input, closed and full streams, unusual environments.
//!
//! Exact output is in `cmd/`; `TRYCMD=overwrite cargo test -p parbake --test command_line` updates it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const PARBAKE: &str = env!("CARGO_BIN_EXE_parbake");

fn run(command: &mut Command) -> Output {
    command.output().expect("the program exists")
}

/// Runs parbake with the state directory `dir`.
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
fn doctor_prints_json() {
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
fn doctor_succeeds_on_this_host_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let output = parbake(dir.path(), &["doctor", "--for", "provision"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "doctor left files behind"
    );
}

#[test]
fn doctor_fails_without_root() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Other users may not be able to read the build directory.
    let program = dir.path().join("parbake");
    fs::copy(PARBAKE, &program).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .env("PARBAKE_DIR", dir.path());
    let output = run(command.arg("doctor"));
    let line = "FAILED   user             not root\n";
    let remedy = "-> run parbake as root, such as with `sudo`\n";
    assert!(text(&output.stdout).starts_with(line), "{output:?}");
    assert!(text(&output.stdout).contains(remedy), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn store_of_an_unknown_version_is_not_touched() {
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

/// Runs parbake in a subdirectory of a project in `dir` with this `parbake.toml`; returns exit code and error.
fn in_project(dir: &Path, text: &str, args: &[&str]) -> (Option<i32>, String) {
    let project = dir.join("project");
    let subdir = project.join("subdir");
    fs::create_dir_all(&subdir).expect("a temporary directory");
    fs::write(project.join("parbake.toml"), text).expect("a temporary directory");
    let mut command = Command::new(PARBAKE);
    command
        .args(args)
        .current_dir(subdir)
        .env("PARBAKE_DIR", dir.join("state"));
    let output = run(&mut command);
    (output.status.code(), text_of(&output.stderr))
}

fn text_of(bytes: &[u8]) -> String {
    text(bytes).to_owned()
}

#[test]
fn missing_pin_is_an_error_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    for (args, remedy) in [
        (
            &["up"][..],
            "or pin one for this project with `parbake pin REFERENCE`",
        ),
        (
            &["pin", "--update"][..],
            "\n  `parbake pin REFERENCE` creates one",
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
        assert!(error.starts_with("error: ") && error.contains(remedy), "{error}");
    }
    assert!(!dir.path().join("parbake.toml").exists());
}

#[test]
fn invalid_pin_is_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("artifact = 1\n", "line 1, column 12: invalid type"),
        (
            "artifact = \"k8s-1.34\"\n",
            "line 1, column 12: `k8s-1.34` is not a reference",
        ),
        (
            "artifact = \"localhost/a\"\nextra = 1\n",
            "line 2, column 1: unknown field `extra`",
        ),
        ("", "line 1, column 1: missing field `artifact`"),
    ];
    for (text, problem) in cases {
        for args in [&["up"][..], &["pin", "--update"][..]] {
            let (code, error) = in_project(dir.path(), text, args);
            assert_eq!(code, Some(1), "{error}");
            assert!(
                error.contains(problem) && error.contains("project/parbake.toml`, line"),
                "{error}"
            );
            assert_eq!(error.matches("error: ").count(), 1, "{error}");
        }
    }
    let (code, error) = in_project(dir.path(), "artifact = \"localhost/a\"\n", &["up"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("without a digest") && error.contains("add it with `parbake pin --update`"));
}

#[test]
fn closed_pipe_is_not_an_error() {
    let script = format!("set -o pipefail; {PARBAKE} completion bash | head -1");
    let output = run(Command::new("bash").args(["-c", &script]));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn every_visible_command_has_a_manual_page() {
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
        page.contains("Copy files and directories to or from a node"),
        "{page}"
    );
    assert!(!pages.join("parbake-supervise.1").exists());
}

/// Runs a script with the binary as `$0` and `$1`, the state directory.
fn script(script: &str) -> Output {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let state = dir.path().join("state");
    run(Command::new("bash")
        .args(["-c", script, PARBAKE])
        .arg(&state)
        .env("PARBAKE_DIR", state)
        .env_remove("PARBAKE_PROVIDERS"))
}

#[test]
fn closed_streams_do_not_change_the_exit_code() {
    for (line, code) in [
        ("$0 list >&-", 0),
        ("$0 list 2>&-", 0),
        ("$0 down 2>&-", 1),
        ("$0 down >&- 2>&- <&-", 1),
        ("$0 no-such-command 2>&-", 2),
        ("$0 --verbose down 2>/dev/full", 1),
        ("$0 down 2> >(true); true", 0),
    ] {
        let output = script(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        assert!(!text(&output.stderr).contains("panicked"), "{line}: {output:?}");
    }
}

#[test]
fn full_standard_output_is_an_error() {
    for line in [
        "$0 list >/dev/full",
        "$0 completion bash >/dev/full",
        "$0 up --help >/dev/full",
    ] {
        let output = script(line);
        assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
        let error = text(&output.stderr);
        assert!(
            error.starts_with("error: could not write to standard output\n  caused by: No space left"),
            "{line}: {error}"
        );
    }
}

#[test]
fn empty_variables_count_as_unset() {
    let command = ["provider", "list", "--output", "json"];
    let output = run(Command::new(PARBAKE)
        .args(command)
        .env("PARBAKE_DIR", "")
        .env("PARBAKE_CACHE", "")
        .env("PARBAKE_PROVIDERS", "")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("\"k8s-1.34\""), "{output:?}");
}

#[test]
fn empty_environment_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(Command::new(PARBAKE)
        .args(["list", "--dir"])
        .arg(dir.path())
        .env_clear());
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn deleted_directory_matters_only_to_relative_paths() {
    let gone = "mkdir $1 && cd $1 && rmdir $1 && ";
    let output = script(&format!("{gone} $0 list"));
    assert!(output.status.success(), "{output:?}");
    for command in [
        "list --dir relative",
        "up k8s --config relative.toml",
        "provision k8s-1.34 --providers relative",
    ] {
        let output = script(&format!("{gone} $0 {command}"));
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {error}");
        assert!(error.contains("No such file or directory"), "{command}: {error}");
    }
}
