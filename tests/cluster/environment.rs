//! The caller's environment does not change what a command does.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use parbake_test_support::place::{Outcome, PROVIDER, Place, below_run, check};

use crate::fixtures::HOSTILE;

/// The cluster that was started in a hostile environment.
const NAME: &str = "hostile";
/// Variables of a company's shell; nothing listens on that port.
const PROXIES: &str = "export HTTPS_PROXY=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 HTTP_PROXY=127.0.0.1:9 \
    ALL_PROXY=socks5://127.0.0.1:9 all_proxy=socks5h://127.0.0.1:9; unset NO_PROXY no_proxy";
/// A webhook that rejects all changes of config maps, because nothing answers for it, a full quota for them, a policy that
/// rejects all deletions, and two leases.
const ADMISSION: &str = include_str!("admission.yaml");

fn text<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

/// Runs a shell script with the tests' environment; `$parbake` is the binary under test.
fn sh(place: &Place, dir: &Path, script: &str) -> Result<Output, String> {
    let parbake = place.command(&[]);
    let mut command = Command::new("bash");
    command
        .args(["-c", script])
        .current_dir(dir)
        .env("parbake", parbake.get_program());
    for (name, value) in parbake.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.output().map_err(text)
}

/// Like [`sh`], and the script must succeed. Returns its standard output.
fn run(place: &Place, dir: &Path, script: &str) -> Result<String, String> {
    let output = sh(place, dir, &format!("set -eu\n{script}"))?;
    check(output.status.success(), || {
        format!(
            "{script}\nended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn work(place: &Place) -> Result<PathBuf, String> {
    let dir = place.dir().join("environment");
    fs::create_dir_all(&dir).map_err(text)?;
    Ok(dir)
}

fn on_node(place: &Place, line: &str) -> Result<String, String> {
    place.run(&["exec", "node01", "--name", NAME, "--", "sh", "-euc", line])
}

/// Makes the fixture: `up` with umask 077, unreachable proxies, an inherited lock, a deleted working directory, and without
/// `HOME`, `TMPDIR` or a locale. It mounts a directory below `/run` and a socket.
pub(crate) fn up(place: &Place) -> Outcome {
    let work = work(place)?;
    let below_run = below_run();
    fs::create_dir_all(&below_run).map_err(text)?;
    fs::write(below_run.join("file"), "below run\n").map_err(text)?;
    fs::set_permissions(below_run.join("file"), fs::Permissions::from_mode(0o644)).map_err(text)?;
    let listener = UnixListener::bind(work.join("socket")).map_err(text)?;
    let script = format!(
        "{PROXIES}\nwork=$PWD; umask 077; unset HOME; export TMPDIR=/nonexistent LANG=xx_XX LC_ALL=xx_XX\n\
         gone=$(env -u TMPDIR mktemp -d); cd \"$gone\"; rmdir \"$gone\"\n\
         (flock -n 9; \"$parbake\" up {PROVIDER} --nodes 1 --name {NAME} --mount {}:/mnt/a/b/run \
         --mount \"$work/socket:/mnt/docker.sock\") 9> \"$work/lock\"",
        below_run.display(),
    );
    let outcome = run(place, &work, &script).map(drop);
    drop(listener);
    let seen = outcome.and_then(|()| {
        let seen = on_node(
            place,
            "cat /mnt/a/b/run/file; test -S /mnt/docker.sock; stat -c %a / /mnt /mnt/a /mnt/a/b",
        )?;
        check(seen == "below run\n755\n755\n755\n755\n", || seen.clone())
    });
    seen?;
    // No process of the cluster holds the caller's lock.
    run(place, &work, "flock -n lock true").map(drop)
}

/// Commands work behind proxies that do not answer, also if the variables are unusual.
pub(crate) fn proxies(place: &Place) -> Outcome {
    let script = format!(
        "{PROXIES}\n\"$parbake\" status --name {NAME} --output json | grep -q coredns\n\
         \"$parbake\" ports --name {NAME} >/dev/null\n\"$parbake\" kubectl --name {NAME} get nodes >/dev/null\n\
         HTTPS_PROXY=proxy.example.org:3128 \"$parbake\" ports --name {NAME} >/dev/null\n\
         \"$parbake\" restart --name {NAME}"
    );
    run(place, &work(place)?, &script).map(drop)
}

/// A kubeconfig is never written in place of a device or a symlink, and its key is never readable by others.
pub(crate) fn special_files(place: &Place) -> Outcome {
    let work = work(place)?;
    run(
        place,
        &work,
        "mknod -m 666 null c 1 3; install -m 666 /dev/null ci.partial; : > target",
    )?;
    symlink(work.join("target"), work.join("link")).map_err(text)?;
    let script = format!(
        "KUBECONFIG=$PWD/null \"$parbake\" kubeconfig --merge --name {NAME} || true\n\
         \"$parbake\" kubeconfig --write \"$PWD/link\" --name {NAME} || true\n\
         \"$parbake\" kubeconfig --write \"$PWD/ci\" --name {NAME}"
    );
    run(place, &work, &script)?;
    let kind = |name: &str| fs::symlink_metadata(work.join(name)).map_err(text);
    check(kind("null")?.file_type().is_char_device(), || {
        "the device was replaced".to_owned()
    })?;
    check(kind("link")?.is_symlink(), || {
        "the symlink was replaced".to_owned()
    })?;
    let mode = kind("ci")?.mode() & 0o777;
    check(mode == 0o600, || format!("the kubeconfig has mode {mode:o}"))
}

/// A reader that closes the pipe does not stop a command halfway.
pub(crate) fn closed_output(place: &Place) -> Outcome {
    let script = format!(
        "{{ \"$parbake\" up {PROVIDER} --nodes 1 --name closed 2>&1 >/dev/null; echo $? > rc; }} | head -1\n\
         \"$parbake\" list | head -1; \"$parbake\" artifact list --output json | head -c 10; cat rc >&2"
    );
    let work = work(place)?;
    run(place, &work, &script)?;
    let code = fs::read_to_string(work.join("rc")).map_err(text)?;
    let listed = place.json(&["list"])?;
    let clusters = listed.as_array().into_iter().flatten();
    let state = clusters
        .clone()
        .find(|cluster| cluster["name"] == "closed")
        .map(|cluster| cluster["state"].clone());
    let is_running = code == "0\n" && state.as_ref().is_some_and(|state| state == "running");
    check(is_running, || {
        format!("exit code {code} with a cluster that is {state:?}")
    })?;
    place.run(&["down", "--name", "closed"]).map(drop)
}

/// The same relative state directory in two projects is two state directories.
pub(crate) fn relative_state_directories(place: &Place) -> Outcome {
    let work = work(place)?;
    let project = |name: &str| -> Result<PathBuf, String> {
        let dir = work.join(name);
        fs::create_dir_all(dir.join(".parbake")).map_err(text)?;
        symlink(place.dir().join("store"), dir.join(".parbake/store")).map_err(text)?;
        Ok(dir)
    };
    let (one, two) = (project("one")?, project("two")?);
    let up = format!("PARBAKE_DIR=.parbake \"$parbake\" up {PROVIDER} --nodes 1");
    let outcome = run(place, &one, &up).and_then(|_| {
        let path = run(place, &one, "PARBAKE_DIR=.parbake \"$parbake\" kubeconfig --path")?;
        check(Path::new(path.trim()).is_absolute(), || path.clone())?;
        run(place, &two, &up)?;
        run(place, &one, "PARBAKE_DIR=.parbake \"$parbake\" kubectl get nodes")
    });
    for dir in [&one, &two] {
        run(place, dir, "PARBAKE_DIR=.parbake \"$parbake\" down || true")?;
    }
    outcome.map(drop)
}

/// A cluster restarts, freezes and thaws although a webhook, a quota and a policy reject its changes, and leaders of the frozen
/// cluster hold no lease.
pub(crate) fn admission(place: &Place) -> Outcome {
    place.feed(&["--name", NAME, "kubectl", "apply", "-f", "-"], ADMISSION)?;
    let rejected = place
        .command(&["kubectl", "--name", NAME, "create", "configmap", "probe"])
        .output()
        .map_err(text)?;
    let message = String::from_utf8_lossy(&rejected.stderr).into_owned();
    check(message.contains("failed calling webhook"), || {
        format!("the webhook rejects nothing: {message}")
    })?;
    place.run(&["restart", "--name", NAME, "--wait", "90s"])?;
    place.run(&["freeze", "admission", "--name", NAME])?;
    place.run(&["down", "--name", NAME])?;
    place.removed(&[&HOSTILE])?;
    place.run(&["up", "admission", "--name", NAME, "--wait", "90s"])?;
    let outcome = admission_after_thaw(place);
    place.run(&["down", "--name", NAME])?;
    place.run(&["artifact", "remove", "admission"])?;
    outcome.map(drop)
}

/// The webhook is still there, and only the lease of a leader has lost its holder.
fn admission_after_thaw(place: &Place) -> Outcome {
    let get = |words: &[&str]| place.run(&[&["kubectl", "--name", NAME, "get"], words].concat());
    get(&["validatingwebhookconfiguration", "policy.example.org"])?;
    let holders = "jsonpath={range .items[*]}{.metadata.name}={.spec.holderIdentity} {end}";
    let leases = get(&["leases", "--namespace=team", "--output", holders])?;
    check(leases.trim() == "heartbeat=agent operator=", || {
        format!("unexpected leases: {leases}")
    })
}
