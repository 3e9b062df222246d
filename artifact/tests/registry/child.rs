//! Pulling and publishing in a process of its own: this program again.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use parbake_artifact::Store;
use parbake_artifact::registry::{publish, pull};
use tokio::runtime::Runtime;

use crate::fixture::{chain, options, tag};

/// `pull REFERENCE` or `publish REFERENCE`; the store is in the current directory.
const ARGUMENTS: &str = "PARBAKE_TEST_ARGUMENTS";

/// The main function of the child process.
#[test]
#[ignore = "other tests run it in a child process"]
fn process() {
    let arguments = env::var(ARGUMENTS).expect("only other tests may run this one");
    let (command, reference) = arguments.split_once(' ').unwrap();
    let reference = reference.parse().unwrap();
    let store = Arc::new(Store::open(Path::new("store")).unwrap());
    let outcome = Runtime::new().unwrap().block_on(async {
        match command {
            "pull" => pull(&store, &reference, Some(&tag()), &options()).await.map(drop),
            "publish" => publish(&store, &tag(), &reference, &options()).await.map(drop),
            other => panic!("unknown command `{other}`"),
        }
    });
    if let Err(error) = outcome {
        panic!("error: {}", chain(&error));
    }
}

/// The process, with a store and `auths` as its user's credentials in `dir`.
pub(crate) fn command(arguments: &[&str], dir: &Path, auths: &str) -> Command {
    let file = dir.join("auth.json");
    fs::write(&file, auths).unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "child::process", "--nocapture"])
        .current_dir(dir)
        .env(ARGUMENTS, arguments.join(" "))
        .env("REGISTRY_AUTH_FILE", file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the process to its end.
pub(crate) fn run(arguments: &[&str], dir: &Path, auths: &str) -> Result<(), String> {
    ended(&command(arguments, dir, auths).output().unwrap())
}

/// The outcome of the process; an error is what it printed.
pub(crate) fn ended(output: &Output) -> Result<(), String> {
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    assert!(
        printed.contains("1 passed"),
        "the child process ran no test: {printed}"
    );
    Ok(())
}
