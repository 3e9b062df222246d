//! Files of a node: put beside those that are there, in their place, and back.
//!
//! Everything is done inside the machine: what changes below a mounted overlay is lost on it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use parbake_artifact::Digest;
use parbake_cluster::swap::wait_until_kubelet;
use parbake_cluster::wait::{Poll, Wait};
use parbake_cluster::{Client, ContainerRuntime, NodeName};
use parbake_machine::handle::Running;
use parbake_machine::process::{self, Output};

use super::undo::Unready;
use crate::error::{Error, SwapError};

/// Where files wait for their turn, and those that were replaced for their return.
pub(crate) const DIR: &str = "/var/lib/parbake/swap";

/// The file of a program that nodes have of their own, and its SHA-256.
const LOOK: &str = r#"
for dir in /usr/local/bin /usr/local/sbin /usr/bin /usr/sbin /opt/cni/bin /usr/lib/cni; do
    if [ -f "$dir/$1" ]; then
        path=$(readlink -f -- "$dir/$1")
        echo "$path"
        sha256sum <"$path"
        exit
    fi
done
"#;
/// Takes a file whole: it may be written anew by a build at this very moment.
const STAGE: &str = r#"
mkdir -p "$1"
cat >"$1/$2.new"
echo "$3  $1/$2.new" | sha256sum --check --status || { echo "it changed while it was read" >&2; exit 1; }
chmod 755 "$1/$2.new"
"#;
/// Keeps the old file, unless it is kept already, and renames the new one.
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
/// A unit that does not run here is none of ours. Says whether it was restarted.
const RESTART: &str = r#"
if systemctl is-active --quiet "$1" || systemctl is-failed --quiet "$1" || [ "$1" = kubelet.service ]; then
    systemctl restart "$1"
    echo restarted
fi
"#;

fn run(running: &Running, node: &NodeName, act: impl Into<String>, words: &[&str]) -> Result<Output, Error> {
    let command = running.command(node.as_str(), words)?;
    command.run().map_err(failed(node, act))
}

fn failed(node: &NodeName, act: impl Into<String>) -> impl FnOnce(process::Error) -> Error {
    let (act, node) = (act.into(), node.clone());
    move |source| SwapError::Node { act, node, source }.into()
}

/// The path of a node's own program, and the hexadecimal digits of its SHA-256; nothing where it has none.
pub(crate) fn look(
    running: &Running,
    node: &NodeName,
    program: &str,
) -> Result<Option<(String, String)>, Error> {
    let found = run(
        running,
        node,
        "look for the program",
        &["sh", "-euc", LOOK, "sh", program],
    )?;
    let mut lines = found.stdout.lines();
    let Some(path) = lines.next() else { return Ok(None) };
    let sum = lines.next().and_then(|line| line.split_whitespace().next());
    Ok(Some((path.to_owned(), sum.unwrap_or_default().to_owned())))
}

/// Whether `node` has the file `path`.
pub(crate) fn has(running: &Running, node: &NodeName, path: &Path) -> Result<bool, Error> {
    let path = path.to_string_lossy();
    let test = "if [ -e \"$1\" ]; then echo yes; fi";
    let found = run(
        running,
        node,
        "look for a file",
        &["sh", "-euc", test, "sh", &path],
    )?;
    Ok(!found.stdout.is_empty())
}

/// The text of the file `path`; nothing where there is none.
pub(crate) fn text(running: &Running, node: &NodeName, path: &str) -> Result<Option<String>, Error> {
    let read = "if [ -e \"$1\" ]; then echo; cat \"$1\"; fi";
    let found = run(running, node, "read a file", &["sh", "-euc", read, "sh", path])?;
    Ok(found.stdout.strip_prefix('\n').map(str::to_owned))
}

/// The names in the directory `path`, which need not exist.
pub(crate) fn list(running: &Running, node: &NodeName, path: &str) -> Result<Vec<String>, Error> {
    let read = "if [ -d \"$1\" ]; then ls \"$1\"; fi";
    let found = run(running, node, "list files", &["sh", "-euc", read, "sh", path])?;
    Ok(found.stdout.lines().map(str::to_owned).collect())
}

/// Puts the program beside what is there, as `NAME.new`.
pub(crate) fn stage(
    running: &Running,
    node: &NodeName,
    name: &str,
    path: &Path,
    digest: &Digest,
) -> Result<(), Error> {
    let words = ["sh", "-euc", STAGE, "sh", DIR, name, digest.hex()];
    let receive = running.command(node.as_str(), words)?;
    let sent = receive.feed(|to| io::copy(&mut File::open(path)?, to).map(drop));
    sent.map_err(failed(node, format!("put `{}`", path.display())))?;
    Ok(())
}

/// The same for a text.
pub(crate) fn stage_text(running: &Running, node: &NodeName, name: &str, text: &str) -> Result<(), Error> {
    let write = "mkdir -p \"$1\"; cat >\"$1/$2.new\"";
    let command = running.command(node.as_str(), ["sh", "-euc", write, "sh", DIR, name])?;
    let act = format!("write `{name}`");
    command.stdin(text).run().map_err(failed(node, act))?;
    Ok(())
}

/// Puts what was staged as `name` in the place of the file `path`, which is kept.
pub(crate) fn replace(running: &Running, node: &NodeName, name: &str, path: &str) -> Result<(), Error> {
    let words = ["sh", "-euc", REPLACE, "sh", DIR, name, path];
    run(running, node, format!("replace `{path}`"), &words).map(drop)
}

/// Puts the file that was kept for `path` back, if there is one.
pub(crate) fn restore(running: &Running, node: &NodeName, path: &str) -> Result<(), Error> {
    let words = ["sh", "-euc", RESTORE, "sh", DIR, path];
    run(running, node, format!("put `{path}` back"), &words).map(drop)
}

/// Removes all that swaps keep on a node.
pub(crate) fn clear(running: &Running, node: &NodeName) -> Result<(), Error> {
    let act = "remove what a swap left";
    run(running, node, act, &["rm", "-rf", "--", DIR]).map(drop)
}

/// Has all nodes forget an image; those that use it keep it, and nothing depends on this.
pub(crate) fn forget_image(running: &Running, image: &str) {
    for node in running.machines().keys() {
        let forgotten = running.command(node, ["crictl", "--timeout=30s", "rmi", image]);
        if let Ok(command) = forgotten
            && let Err(error) = command.run()
        {
            tracing::debug!(%error, "an image stays on `{node}`");
        }
    }
}

/// Has a node forget a packed layer, which it has unpacked and will not need again: a freeze would keep it, too.
pub(crate) fn forget_packed(running: &Running, runtime: ContainerRuntime, node: &str, digest: &str) {
    let Some(forget) = runtime.answers().forget_packed else {
        return;
    };
    let words = ["sh", "-euc", forget, "sh", digest];
    if let Ok(command) = running.command(node, words)
        && let Err(error) = command.run()
    {
        tracing::debug!(%error, "a packed layer stays on `{node}`");
    }
}

/// Restarts `unit` where it runs, and waits until the node is as it should be: its kubelet reports `version` then if that
/// is what was replaced.
pub(crate) async fn restart(
    running: &Running,
    client: &Client,
    node: &NodeName,
    unit: Option<&str>,
    since: Timestamp,
    version: Option<&str>,
    limit: Duration,
) -> Result<(), Unready> {
    let Some(unit) = unit else { return Ok(()) };
    let words = ["sh", "-euc", RESTART, "sh", unit];
    let ran = run(running, node, format!("restart `{unit}`"), &words).map_err(Unready::other)?;
    if ran.stdout.is_empty() {
        return Ok(());
    }
    match unit {
        "kubelet.service" => {
            wait_until_kubelet(client, node, since, version, limit).await?;
        }
        unit if ContainerRuntime::has_unit(unit) => {
            let question = running
                .command(node.as_str(), ["crictl", "--timeout=3s", "version"])
                .map_err(|error| Unready::other(error.into()))?;
            let wait = Wait::new(format!("the runtime of `{node}` to answer"), limit);
            wait.until(|| async {
                match question.run() {
                    Ok(_) => Poll::Seen(()),
                    Err(error) => Poll::Pending(error.to_string()),
                }
            })
            .await?;
        }
        _ => stays(running, node, unit, limit).await?,
    }
    Ok(())
}

/// Waits until a unit has run for a second.
async fn stays(running: &Running, node: &NodeName, unit: &str, limit: Duration) -> Result<(), Unready> {
    let active = "systemctl is-active --quiet \"$1\" && sleep 1 && systemctl is-active --quiet \"$1\"";
    let question = running
        .command(node.as_str(), ["sh", "-euc", active, "sh", unit])
        .map_err(|error| Unready::other(error.into()))?;
    let wait = Wait::new(format!("`{unit}` of `{node}` to run"), limit);
    wait.until(|| async {
        match question.run() {
            Ok(_) => Poll::Seen(()),
            Err(_) => Poll::Pending("it does not run".to_owned()),
        }
    })
    .await?;
    Ok(())
}
