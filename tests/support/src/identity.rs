//! An artifact contains no credential of a cluster.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parbake_artifact::Store;
use parbake_machine::supervisor::Running;

use crate::place::{Outcome, PROVIDER, Place, check};
use crate::secrets::{CANDIDATES, Kind, Secret, secrets};

/// Secrets seen on the machines while the artifact was baked.
static BAKED: Mutex<BTreeSet<Secret>> = Mutex::new(BTreeSet::new());

/// Prints every file of a node that may contain a secret. Tokens do not end with a newline.
pub const PRINT: &str = "for file in /etc/kubernetes/*.conf /etc/kubernetes/pki/*.key \
    /etc/kubernetes/pki/etcd/*.key /var/lib/kubelet/pki/* /var/lib/kubelet/pods/*/volumes/*/*/token /etc/parbake/*; \
    do cat $file 2>/dev/null && echo; done; true";

/// etcd's data in the layer of a control plane.
const DATABASE: &str = "var/lib/etcd/member/snap/db";

/// Texts that look like secrets but are documentation.
const HARMLESS: [&str; 2] = [
    // The example in the help of `kubeadm token` and `kubeadm join`.
    "abcdef.1234567890abcdef",
    // The placeholder of `kubeadm config print init-defaults`.
    "abcdef.0123456789abcdef",
];

/// How many bytes to read from where a secret may begin.
const WINDOW: usize = 8192;

/// Runs `bake` and collects the secrets on its machines meanwhile.
pub fn watched(place: &Place, bake: impl FnOnce() -> Outcome) -> Outcome {
    let over = AtomicBool::new(false);
    let machines = place.dir().join("bake").join(PROVIDER).join("cluster");
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) && !collect(&machines) {
                thread::sleep(Duration::from_millis(500));
            }
        });
        let outcome = bake();
        over.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Collects the secrets on the machines; true if every machine already has a pod's token, which appears last.
fn collect(machines: &Path) -> bool {
    let Ok(Some(running)) = Running::find(machines) else {
        return false;
    };
    let (all, complete) = secrets_on(&running);
    if let Ok(mut baked) = BAKED.lock() {
        baked.extend(all);
    }
    complete
}

/// The secrets on the machines, and whether each machine has at least one token.
pub fn secrets_on(running: &Running) -> (BTreeSet<Secret>, bool) {
    let mut all = BTreeSet::new();
    let mut complete = true;
    for name in running.machines().keys() {
        let printed = running.command(name, ["sh", "-c", PRINT]).map(|cmd| cmd.run());
        let printed = printed.ok().and_then(Result::ok);
        let found = secrets(printed.map(|output| output.stdout).unwrap_or_default().as_bytes());
        complete &= found.iter().any(|secret| secret.kind == Kind::Token);
        all.extend(found);
    }
    (all, complete)
}

/// No file of any layer contains a secret, including etcd's database and log, and none of the bake's own secrets.
pub fn at_rest(place: &Place) -> Outcome {
    let baked = BAKED.lock().map_err(|error| error.to_string())?.clone();
    let of_kind = |kind| baked.iter().filter(|secret| secret.kind == kind).count();
    // A control plane has 9 keys, each node two; every kubeconfig except the kubelets' contains one.
    for (kind, least) in [
        (Kind::Key, 12),
        (Kind::Token, 3),
        (Kind::Bootstrap, 1),
        (Kind::Field, 4),
    ] {
        check(of_kind(kind) >= least, || {
            format!("only {} of {kind:?} were seen in the bake", of_kind(kind))
        })?;
    }
    planted_secrets_are_found(&baked)?;
    let layers = contains_no_secret(place, PROVIDER, &baked)?;
    // Objects are stored under these keys.
    let stored = |kind: &str| {
        let found = grep(&["--fixed-strings"], &[&format!("/registry/{kind}/")], &layers)?;
        let mut paths = found.into_iter().map(|hit| hit.path);
        Ok::<_, String>(paths.any(|path| path.ends_with(DATABASE)))
    };
    for kind in ["secrets", "certificatesigningrequests"] {
        check(!stored(kind)?, || format!("there are {kind} in the database"))?;
    }
    check(stored("serviceaccounts")?, || {
        "the database has no objects".to_owned()
    })
}

/// No layer of the artifact `tag` contains any of `held` or anything that looks like a secret. Returns the layers.
pub fn contains_no_secret(place: &Place, tag: &str, held: &BTreeSet<Secret>) -> Result<Vec<PathBuf>, String> {
    let layers = layers(place, tag)?;
    check(layers.iter().any(|layer| layer.join(DATABASE).is_file()), || {
        "no layer has a database".to_owned()
    })?;
    check(check_candidates(&layers)? > 50, || {
        "programs have many a marker, which were not found".to_owned()
    })?;
    let needles: BTreeSet<&str> = held.iter().flat_map(Secret::needles).collect();
    let found = grep(
        &["--fixed-strings"],
        &needles.into_iter().collect::<Vec<_>>(),
        &layers,
    )?;
    check(found.is_empty(), || {
        format!("secrets of the cluster in {found:?}")
    })?;
    Ok(layers)
}

/// Checks the check: each of the bake's secrets is found when planted in a file.
fn planted_secrets_are_found(baked: &BTreeSet<Secret>) -> Outcome {
    for secret in baked {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let file = dir.path().join("file");
        let Secret { kind, text } = secret;
        let line = match kind {
            Kind::Key => format!("-----BEGIN EC PRIVATE KEY-----\n{text}-----END"),
            Kind::Field => format!("client-key-data: {text}"),
            Kind::Token | Kind::Bootstrap => format!("\"{text}\""),
        };
        fs::write(&file, format!("\0\u{1}before\n{line}\n\0after")).map_err(|error| error.to_string())?;
        let dirs = [dir.path().to_owned()];
        check(check_candidates(&dirs).is_err(), || {
            format!("{kind:?} is not found")
        })?;
        let hits = grep(&["--fixed-strings"], &secret.needles(), &dirs)?;
        check(!hits.is_empty(), || {
            format!("the bake's own {kind:?} is not found")
        })?;
    }
    Ok(())
}

/// The unpacked layers of the artifact `tag`.
fn layers(place: &Place, tag: &str) -> Result<Vec<PathBuf>, String> {
    let store = Store::open(&place.dir().join("store")).map_err(|error| error.to_string())?;
    let tag = tag.parse().map_err(|_| "no tag".to_owned())?;
    let artifact = store.get(&tag).map_err(|error| error.to_string())?;
    let layers = artifact.layers.iter().map(|layer| store.unpacked(layer));
    layers
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// Reads every place where a secret may begin and fails if there is one. Returns the number of places.
fn check_candidates(layers: &[PathBuf]) -> Result<usize, String> {
    let hits = grep(&["--extended-regexp"], &[CANDIDATES], layers)?;
    for hit in &hits {
        let mut window = vec![0; WINDOW];
        let mut start = [0; 4];
        // Read from a little earlier: some secrets are recognised by the text before them.
        let from = hit.offset.saturating_sub(64);
        let read = File::open(&hit.path).and_then(|file| {
            file.read_at(&mut start, 0)?;
            file.read_at(&mut window, from)
        });
        let read = read.map_err(|error| format!("{}: {error}", hit.path.display()))?;
        let found = secrets(&window[..read]);
        // Some strings in programs look like bootstrap tokens.
        let program = start == *b"\x7fELF";
        let real = found
            .iter()
            .filter(|secret| !(program && secret.kind == Kind::Bootstrap))
            .find(|secret| !HARMLESS.contains(&secret.text.as_str()));
        check(real.is_none(), || {
            format!("{real:?} is in {}", hit.path.display())
        })?;
    }
    Ok(hits.len())
}

/// A position in a file.
#[derive(Debug)]
struct Hit {
    path: PathBuf,
    offset: u64,
}

/// Finds `patterns` in the files below `dirs`.
fn grep(options: &[&str], patterns: &[&str], dirs: &[PathBuf]) -> Result<Vec<Hit>, String> {
    let mut child = Command::new("grep")
        .args([
            "--recursive",
            "--text",
            "--byte-offset",
            "--only-matching",
            "--null",
            "--file=-",
        ])
        .args(options)
        .args(dirs)
        // Match bytes, not characters.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(patterns.join("\n").as_bytes())
            .map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    // 1 means nothing was found.
    check(matches!(output.status.code(), Some(0 | 1)), || {
        format!("grep ended with {}", output.status)
    })?;
    let hit = |line: &[u8]| {
        let line = String::from_utf8_lossy(line).into_owned();
        let (path, rest) = line.split_once('\0')?;
        let offset = rest.split_once(':')?.0.parse().ok()?;
        Some(Hit {
            path: path.into(),
            offset,
        })
    };
    let lines = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| hit(line).ok_or_else(|| format!("grep printed {}", String::from_utf8_lossy(line))))
        .collect()
}
