//! Replaces and restores files on nodes.
//!
//! Every change is made by commands inside the machine: changes below a mounted overlay would be lost on it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use parbake_artifact::Digest;
use parbake_cluster::readiness::wait_until_kubelet;
use parbake_cluster::wait::{Poll, Wait};
use parbake_cluster::{Client, ContainerRuntime, NodeName};
use parbake_machine::process::Output;
use parbake_machine::supervisor::Running;

use crate::error::{Error, SwapError};

/// The directory on a node for staged (`NAME.new`) and replaced (`NAME.old`) files.
pub(crate) const DIR: &str = "/var/lib/parbake/swap";

/// Prints the path of a program that is installed on the node, and its SHA-256.
const FIND_PROGRAM: &str = r#"
for dir in /usr/local/bin /usr/local/sbin /usr/bin /usr/sbin /opt/cni/bin /usr/lib/cni; do
    if [ -f "$dir/$1" ]; then
        path=$(readlink -f -- "$dir/$1")
        echo "$path"
        sha256sum <"$path"
        exit
    fi
done
"#;
/// Receives a file and verifies its digest: a build may be writing it at the same time.
const STAGE: &str = r#"
mkdir -p "$1"
cat >"$1/$2.new"
echo "$3  $1/$2.new" | sha256sum --check --status || { echo "it changed while it was read" >&2; exit 1; }
chmod 755 "$1/$2.new"
"#;
/// Keeps the old file, unless one is kept already, and renames the new one into place.
const REPLACE: &str = r#"
old=$1/$(basename -- "$3").old
if [ ! -e "$old" ]; then
    cp --archive -- "$3" "$old.part"
    sync "$old.part"
    mv -- "$old.part" "$old"
fi
chown --reference="$3" "$1/$2.new"
chmod --reference="$3" "$1/$2.new"
sync "$1/$2.new"
mv --no-target-directory -- "$1/$2.new" "$3"
sync "$(dirname -- "$3")"
"#;
const RESTORE: &str = r#"
old=$1/$(basename -- "$2").old
if [ -e "$old" ]; then mv --no-target-directory -- "$old" "$2"; fi
"#;
/// Restarts a unit unless it is unused on this node. Prints `restarted` if it was.
const RESTART: &str = r#"
if systemctl is-active --quiet "$1" || systemctl is-failed --quiet "$1" || [ "$1" = kubelet.service ]; then
    systemctl restart "$1"
    echo restarted
fi
"#;

/// Runs a shell script with `args` on `node`. `act` says for errors what it does.
fn run_script(
    running: &Running,
    node: &NodeName,
    act: impl Into<String>,
    script: &str,
    args: &[&str],
) -> Result<Output, Error> {
    let command = running.command(node.as_str(), [&["sh", "-euc", script, "sh"], args].concat())?;
    command.run().map_err(failed(node, act))
}

fn failed(node: &NodeName, act: impl Into<String>) -> impl FnOnce(parbake_machine::Error) -> Error {
    let (act, node) = (act.into(), node.clone());
    move |source| SwapError::Node { act, node, source }.into()
}

/// The path of `program` on the node and its SHA-256 in hexadecimal; `None` if it is not installed there.
pub(crate) fn find_program(
    running: &Running,
    node: &NodeName,
    program: &str,
) -> Result<Option<(String, String)>, Error> {
    let act = format!("look for `{program}`");
    let found = run_script(running, node, act, FIND_PROGRAM, &[program])?;
    let mut lines = found.stdout.lines();
    let Some(path) = lines.next() else { return Ok(None) };
    let sum = lines.next().and_then(|line| line.split_whitespace().next());
    Ok(Some((path.to_owned(), sum.unwrap_or_default().to_owned())))
}

/// True if the file `path` exists on `node`.
pub(crate) fn exists(running: &Running, node: &NodeName, path: &Path) -> Result<bool, Error> {
    let path = path.to_string_lossy();
    let script = "if [ -e \"$1\" ]; then echo yes; fi";
    let found = run_script(running, node, format!("look for `{path}`"), script, &[&path])?;
    Ok(!found.stdout.is_empty())
}

/// The text of the file `path`; `None` if it does not exist.
pub(crate) fn read(running: &Running, node: &NodeName, path: &str) -> Result<Option<String>, Error> {
    // The empty line tells an empty file from a missing one.
    let script = "if [ -e \"$1\" ]; then echo; cat \"$1\"; fi";
    let found = run_script(running, node, format!("read `{path}`"), script, &[path])?;
    Ok(found.stdout.strip_prefix('\n').map(str::to_owned))
}

/// The names in the directory `path`; none if it does not exist.
pub(crate) fn list(running: &Running, node: &NodeName, path: &str) -> Result<Vec<String>, Error> {
    let script = "if [ -d \"$1\" ]; then ls \"$1\"; fi";
    let found = run_script(running, node, format!("list `{path}`"), script, &[path])?;
    Ok(found.stdout.lines().map(str::to_owned).collect())
}

/// Copies the file `path` of the host to the node, as the staged file `name`.
pub(crate) fn stage(
    running: &Running,
    node: &NodeName,
    name: &str,
    path: &Path,
    digest: &Digest,
) -> Result<(), Error> {
    let command = ["sh", "-euc", STAGE, "sh", DIR, name, digest.hex()];
    let receive = running.command(node.as_str(), command)?;
    let sent = receive.stream_input(|to| io::copy(&mut File::open(path)?, to).map(drop));
    sent.map_err(failed(node, format!("copy `{}`", path.display())))?;
    Ok(())
}

/// Writes `text` to the staged file `name`.
pub(crate) fn stage_text(running: &Running, node: &NodeName, name: &str, text: &str) -> Result<(), Error> {
    let script = "mkdir -p \"$1\"; cat >\"$1/$2.new\"";
    let command = running.command(node.as_str(), ["sh", "-euc", script, "sh", DIR, name])?;
    let act = format!("write `{name}`");
    command.stdin(text).run().map_err(failed(node, act))?;
    Ok(())
}

/// Replaces the file `path` by the staged file `name`. The old file is kept.
pub(crate) fn replace(running: &Running, node: &NodeName, name: &str, path: &str) -> Result<(), Error> {
    let act = format!("replace `{path}`");
    run_script(running, node, act, REPLACE, &[DIR, name, path]).map(drop)
}

/// Restores the old file that was kept for `path`, if there is one.
pub(crate) fn restore(running: &Running, node: &NodeName, path: &str) -> Result<(), Error> {
    let act = format!("restore `{path}`");
    run_script(running, node, act, RESTORE, &[DIR, path]).map(drop)
}

/// Removes all staged and kept files.
pub(crate) fn remove_staged(running: &Running, node: &NodeName) -> Result<(), Error> {
    let act = format!("remove `{DIR}`");
    run_script(running, node, act, "rm -rf -- \"$1\"", &[DIR]).map(drop)
}

/// Removes the name of an image from all nodes. Failures are only logged: a container may still use it.
pub(crate) fn remove_image(running: &Running, image: &str) {
    for node in running.machines().keys() {
        let command = running.command(node, ["crictl", "--timeout=30s", "rmi", image]);
        if let Ok(command) = command
            && let Err(error) = command.run()
        {
            tracing::debug!(%error, "could not remove image `{image}` from `{node}`");
        }
    }
}

/// Removes a compressed layer from the runtime's content store. It is unpacked and not needed again, and a freeze would
/// keep it.
pub(crate) fn remove_compressed_layer(
    running: &Running,
    runtime: ContainerRuntime,
    node: &str,
    digest: &str,
) {
    let Some(script) = runtime.profile().remove_blob else {
        return;
    };
    if let Ok(command) = running.command(node, ["sh", "-euc", script, "sh", digest])
        && let Err(error) = command.run()
    {
        tracing::debug!(%error, "could not remove layer `{digest}` from `{node}`");
    }
}

/// Restarts `unit`, if the node uses it, and waits until it works again. The kubelet must then report `version`, if given.
pub(crate) async fn restart(
    running: &Running,
    client: &Client,
    node: &NodeName,
    unit: Option<&str>,
    since: Timestamp,
    version: Option<&str>,
    timeout: Duration,
) -> Result<(), Error> {
    let Some(unit) = unit else { return Ok(()) };
    let restarted = run_script(running, node, format!("restart `{unit}`"), RESTART, &[unit])?;
    if restarted.stdout.is_empty() {
        return Ok(());
    }
    match unit {
        "kubelet.service" => Ok(wait_until_kubelet(client, node, since, version, timeout).await?),
        unit if ContainerRuntime::is_runtime_unit(unit) => {
            let question = running.command(node.as_str(), ["crictl", "--timeout=3s", "version"])?;
            let wait = Wait::new(format!("the runtime of `{node}` to answer"), timeout);
            let answered = wait.until(|| async {
                match question.run() {
                    Ok(_) => Poll::Ready(()),
                    Err(error) => Poll::Pending(error.to_string()),
                }
            });
            Ok(answered.await?)
        }
        _ => wait_until_stable(running, node, unit, timeout).await,
    }
}

/// Waits until a unit has been active for a second.
async fn wait_until_stable(
    running: &Running,
    node: &NodeName,
    unit: &str,
    timeout: Duration,
) -> Result<(), Error> {
    let script = "systemctl is-active --quiet \"$1\" && sleep 1 && systemctl is-active --quiet \"$1\"";
    let question = running.command(node.as_str(), ["sh", "-euc", script, "sh", unit])?;
    let wait = Wait::new(format!("`{unit}` of `{node}` to run"), timeout);
    let active = wait.until(|| async {
        match question.run() {
            Ok(_) => Poll::Ready(()),
            Err(_) => Poll::Pending("it is not active".to_owned()),
        }
    });
    Ok(active.await?)
}
