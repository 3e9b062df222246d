//! Credential helpers (docker-credential-helpers, "Usage"): programs `docker-credential-NAME` that read a registry from
//! standard input and print its credential.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time;

use super::Credential;

/// Printed by a helper that has no credential (docker-credential-helpers, `credentials/error.go`).
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper `name` for the credential of `registry`.
///
/// # Errors
/// A message for the user.
pub(super) async fn get(name: &str, registry: &str, timeout: Duration) -> Result<Option<Credential>, String> {
    let program = format!("docker-credential-{name}");
    let again = format!("run `echo {registry} | {program} get` to find out why");
    let output = match time::timeout(timeout, run(&program, registry)).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!(
                "the credential helper `{program}` is not installed; install it, or remove it from the file"
            ));
        }
        Ok(Err(error)) => {
            return Err(format!(
                "the credential helper `{program}` could not run: {error}"
            ));
        }
        Err(_) => {
            return Err(format!(
                "the credential helper `{program}` did not answer within {} s; {again}",
                timeout.as_secs_f64()
            ));
        }
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        if printed.contains(NOT_FOUND) {
            return Ok(None);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = printed.lines().chain(errors.lines()).collect();
        return Err(format!(
            "the credential helper `{program}` failed ({}): {}",
            output.status,
            lines.join("; ")
        ));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("the credential helper `{program}` did not print a credential; {again}"))?;
    Ok(match answer.username.as_str() {
        TOKEN_USER => Some(Credential::IdentityToken(answer.secret)),
        // Some helpers answer so where they have nothing.
        "" if answer.secret.is_empty() => None,
        _ => Some(Credential::Password {
            user: answer.username,
            password: answer.secret,
        }),
    })
}

/// Runs the helper, which is killed if the future is dropped.
async fn run(program: &str, registry: &str) -> io::Result<Output> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(registry.as_bytes()).await {
            // It may answer without reading.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    child.wait_with_output().await
}
