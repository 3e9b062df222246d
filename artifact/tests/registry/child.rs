//! A process of its own that pulls or publishes: this program again.

use std::env;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::small::{chain, options, tag};

/// What the process is to do: `pull REFERENCE` or `publish REFERENCE`; its store is in the current directory.
const WORDS: &str = "PARBAKE_TEST_WORDS";

/// What runs in that process; in any other one there is nothing to do.
#[test]
fn process() {
    let Ok(words) = env::var(WORDS) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let outcome = runtime.block_on(async {
        let store = parbake_artifact::Store::open(Path::new("store")).unwrap();
        let store = std::sync::Arc::new(store);
        let (what, reference) = words.split_once(' ').unwrap();
        let reference = reference.parse().unwrap();
        match what {
            "pull" => parbake_artifact::registry::pull(&store, &reference, Some(&tag()), &options())
                .await
                .map(drop),
            _ => parbake_artifact::registry::publish(&store, &tag(), &reference, &options())
                .await
                .map(drop),
        }
    });
    if let Err(error) = outcome {
        panic!("error: {}", chain(&error));
    }
}

/// The process, with a store in `dir`, and what it finds as its user's credentials.
pub(crate) fn command(words: &[&str], dir: &Path, auths: &str) -> Command {
    let file = dir.join("auth.json");
    std::fs::write(&file, auths).unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "child::process", "--nocapture"])
        .current_dir(dir)
        .env(WORDS, words.join(" "))
        .env("REGISTRY_AUTH_FILE", file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Runs it; an error is what it said.
pub(crate) fn run(words: &[&str], dir: &Path, auths: &str) -> Result<(), String> {
    ended(&command(words, dir, auths).output().unwrap())
}

/// What came of it.
pub(crate) fn ended(output: &Output) -> Result<(), String> {
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}
