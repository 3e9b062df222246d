//! A process that is killed at any moment while it uses a store leaves intact artifacts.

#![allow(clippy::unwrap_used, reason = "a test: whatever fails, fails it")]

mod draft;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use parbake_artifact::{Digest, PackOptions, Store, StoreError, Tag};

use draft::draft;

/// Set in the process that is killed, to the directory of the store and to a random seed.
const VICTIM: &str = "PARBAKE_TEST_VICTIM";
const SEED: &str = "PARBAKE_TEST_SEED";
const TEST: &str = "killed_at_any_moment";
/// Minimum number of processes to kill, and maximum on a slow disk: enough to find a layer that is removed without a rename.
const MIN_ROUNDS: u64 = 40;
const MAX_ROUNDS: u64 = 400;
/// Number of layers, of which an artifact has two: few, so that removed layers are soon needed again.
const TREES: u64 = 4;
const FILES: u64 = 30;

#[test]
fn killed_at_any_moment() {
    if let Some(dir) = std::env::var_os(VICTIM) {
        let seed = std::env::var(SEED).unwrap().parse().unwrap();
        return work_until_killed(Path::new(&dir), seed);
    }
    let temp = tempfile::tempdir().unwrap();
    for tree in 0..TREES {
        make_tree(&temp.path().join(tree.to_string()), tree);
    }
    let dir = temp.path().join("store");
    let (mut random, mut seen, mut swept) = (Random(7), BTreeSet::new(), 0);
    for round in 0..MAX_ROUNDS {
        if round >= MIN_ROUNDS && seen.len() > 1 && swept > 0 {
            break;
        }
        let mut victim = start_victim(temp.path(), round);
        std::thread::sleep(Duration::from_micros(random.below(150_000)));
        assert!(
            victim.try_wait().unwrap().is_none(),
            "the process ended before it was killed"
        );
        victim.kill().unwrap();
        victim.wait().unwrap();
        let mut store = Store::open(&dir).unwrap();
        let tags = check(&store, round);
        seen.extend(tags.clone());
        if round % 4 == 0 {
            let leftovers = |name: &str| fs::read_dir(dir.join(name)).unwrap().count();
            swept += store
                .exclusive()
                .unwrap()
                .sweep(&BTreeSet::new())
                .unwrap()
                .leftovers;
            assert_eq!(leftovers("tmp"), 0);
            assert_eq!(check(&store, round), tags);
        }
    }
    assert!(seen.len() > 1, "no artifact was created: {seen:?}");
    assert!(swept > 0, "no process was killed while it wrote");
}

/// Checks that all artifacts are intact. Returns their tags.
fn check(store: &Store, round: u64) -> Vec<Tag> {
    let tags = store.tags().unwrap();
    for listed in store.list().unwrap() {
        listed.artifact.unwrap();
    }
    let problems = store.examine(&tags).unwrap().problems;
    let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(found, Vec::<String>::new(), "round {round}");
    tags
}

fn start_victim(dir: &Path, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", TEST, "--nocapture"])
        .env(VICTIM, dir)
        .env(SEED, seed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut victim = command.spawn().unwrap();
    // Skip the test harness's own output.
    let (mut output, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(20));
    while !output.ends_with(b"at work\n") {
        assert!(Instant::now() < deadline, "the process does not start");
        let mut byte = [0];
        victim.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        output.push(byte[0]);
    }
    victim
}

fn work_until_killed(dir: &Path, seed: u64) {
    let mut random = Random(seed * 2 + 1);
    println!("at work");
    loop {
        let mut store = Store::open(&dir.join("store")).unwrap();
        let tag: Tag = format!("t{}", random.below(3)).parse().unwrap();
        match random.below(5) {
            0 | 1 => make(&store, dir, &tag, &mut random),
            2 => import(&store, &tag, &mut random),
            3 => match store.remove(&[tag], nothing_in_use) {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            _ => drop(store.exclusive().unwrap().sweep(&BTreeSet::new()).unwrap()),
        }
    }
}

fn nothing_in_use() -> Result<BTreeSet<Digest>, StoreError> {
    Ok(BTreeSet::new())
}

/// Packs, unpacks and adopts layers, and creates an artifact, as a bake does.
fn make(store: &Store, dir: &Path, tag: &Tag, random: &mut Random) {
    let tree = random.below(TREES - 1);
    let source = dir.join(tree.to_string());
    let first = store
        .add_layer("first", &source, &PackOptions::default())
        .unwrap();
    store.unpacked(&first).unwrap();
    let scratch = tempfile::tempdir_in(dir).unwrap();
    let same = scratch.path().join("same");
    make_tree(&same, tree + 1);
    let second = store
        .adopt_layer("second", &same, &PackOptions::default())
        .unwrap();
    store.put(tag, draft(&[first, second])).unwrap();
}

/// Imports an existing artifact under another name, as a pull does.
fn import(store: &Store, tag: &Tag, random: &mut Random) {
    let from: Tag = format!("t{}", random.below(3)).parse().unwrap();
    if let Ok((_, manifest)) = store.manifest_bytes(&from) {
        let artifact = store.import(tag, &manifest, None).unwrap();
        for layer in &artifact.layers {
            store.unpacked(layer).unwrap();
        }
    }
}

/// Creates the tree of this seed, always with the same times.
fn make_tree(dir: &Path, seed: u64) {
    let mut random = Random(seed + 11);
    let age = |path: &Path| File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH);
    for number in 0..FILES {
        let below = dir.join((number % 5).to_string());
        fs::create_dir_all(&below).unwrap();
        let bytes: Vec<u8> = (0..500).flat_map(|_| random.next().to_le_bytes()).collect();
        let file = below.join(number.to_string());
        fs::write(&file, bytes).unwrap();
        age(&file).unwrap();
    }
    for number in 0..5 {
        age(&dir.join(number.to_string())).unwrap();
    }
    age(dir).unwrap();
}

/// Xorshift (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}
