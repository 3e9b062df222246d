//! A process that is killed while unpacking leaves nothing that looks complete.

#![allow(clippy::unwrap_used, reason = "a test: whatever fails, fails it")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parbake_artifact::{Layer, PackOptions, Store};

/// Set in the process that is killed, to the directory of the store.
const VICTIM: &str = "PARBAKE_TEST_VICTIM";
const TEST: &str = "killed_while_unpacking";

#[test]
fn killed_while_unpacking() {
    if let Some(dir) = std::env::var_os(VICTIM) {
        return unpack_until_killed(Path::new(&dir));
    }
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for number in 0..64 {
        fs::write(tree.join(number.to_string()), noise(number)).unwrap();
    }
    let mut store = Store::open(&temp.path().join("store")).unwrap();
    let layer = store.add_layer("os", &tree, &PackOptions::default()).unwrap();
    fs::write(
        temp.path().join("store/layer.json"),
        serde_json::to_vec(&layer).unwrap(),
    )
    .unwrap();

    // The blob stops after its first half.
    let blob = store.blob_path(&layer.digest);
    let bytes = fs::read(&blob).unwrap();
    fs::remove_file(&blob).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &blob, rustix::fs::Mode::RUSR).unwrap();
    let mut victim = start_victim(store.dir());
    let mut pipe = File::options().write(true).open(&blob).unwrap();
    pipe.write_all(&bytes[..bytes.len() / 2]).unwrap();
    let incomplete = wait_for_incomplete(&store.dir().join("tmp"));
    victim.kill().unwrap();
    victim.wait().unwrap();
    drop(pipe);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, &bytes).unwrap();

    assert!(!store.unpacked_path(&layer.digest).exists());
    let unpacked = store.unpacked(&layer).unwrap();
    assert_eq!(fs::read_dir(unpacked).unwrap().count(), 64);
    assert!(incomplete.exists());
    let store = store.exclusive().unwrap();
    let swept = store.sweep(&BTreeSet::from([layer.digest])).unwrap();
    assert_eq!((swept.blobs, swept.unpacked, swept.leftovers), (0, 0, 1));
    assert!(!incomplete.exists());
}

/// Incompressible bytes, so that half of the blob has about half of the files.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    let mut next = || {
        // Xorshift (Marsaglia, "Xorshift RNGs", 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..4096).flat_map(|_| next()).collect()
}

fn start_victim(store: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", TEST])
        .env(VICTIM, store)
        .stdout(Stdio::null());
    command.spawn().unwrap()
}

fn unpack_until_killed(dir: &Path) {
    let layer: Layer = serde_json::from_slice(&fs::read(dir.join("layer.json")).unwrap()).unwrap();
    let outcome = Store::open(dir).unwrap().unpacked(&layer);
    panic!("the process was not killed but ended with {outcome:?}");
}

/// Waits for a directory that is being unpacked and not empty.
fn wait_for_incomplete(tmp: &Path) -> PathBuf {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let filling = fs::read_dir(tmp)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir() && fs::read_dir(path).unwrap().next().is_some());
        if let Some(path) = filling {
            return path;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing was unpacked within 20 s");
}
