//! Processes that are killed at random moments.

use std::env;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parbake_artifact::Store;

use crate::child::{command, ended};
use crate::server::Server;
use crate::small::{Place, Random, check};

const TIMES: u32 = 100;
/// A seed for the moments, to repeat what failed.
const SEED: &str = "PARBAKE_TEST_SEED";

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_killed_leaves_all_or_nothing() {
    let (server, source) = (Server::start(), Place::with_artifact());
    let reference = server.reference("killed");
    source.publish(&reference).await.unwrap();
    let target = Place::empty();
    let words = ["pull", &reference.to_string()];
    let start = Instant::now();
    ended(&command(&words, target.dir.path(), "{}").output().unwrap()).unwrap();
    let mut moments = Moments::new(start.elapsed());
    while moments.killed < TIMES {
        let target = Place::empty();
        moments.kill(&mut command(&words, target.dir.path(), "{}"));
        check(&target.store);
        target.pull(&reference).await.unwrap();
        target.check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_of_deltas_that_is_killed_leaves_all_or_nothing() {
    let (server, source) = (Server::start(), Place::with_both());
    let reference = server.reference("killed-deltas");
    crate::deltas::publish_deltas(&source, &reference).await;
    let words = ["pull", &reference.to_string()];
    let (target, start) = (Place::with_older(), Instant::now());
    ended(&command(&words, target.dir.path(), "{}").output().unwrap()).unwrap();
    let mut moments = Moments::new(start.elapsed());
    while moments.killed < TIMES / 4 {
        let target = Place::with_older();
        moments.kill(&mut command(&words, target.dir.path(), "{}"));
        check(&target.store);
        target.pull(&reference).await.unwrap();
        target.check_both();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_killed_leaves_all_or_nothing() {
    let (server, source) = (Server::start(), Place::with_artifact());
    let text = |number: u32| server.reference(&format!("killed-{number}")).to_string();
    let start = Instant::now();
    ended(
        &command(&["publish", &text(u32::MAX)], source.dir.path(), "{}")
            .output()
            .unwrap(),
    )
    .unwrap();
    let mut moments = Moments::new(start.elapsed());
    while moments.killed < TIMES {
        let number = moments.tried;
        let reference = server.reference(&format!("killed-{number}"));
        moments.kill(&mut command(&["publish", &text(number)], source.dir.path(), "{}"));
        source.check();
        // What others can see by now they can also have.
        let target = Place::empty();
        match target.pull(&reference).await {
            Ok(_) => target.check(),
            Err(error) => assert!(error.to_string().contains("has nothing there"), "{error}"),
        }
        source.publish(&reference).await.unwrap();
        // It takes long, and the registry has checked each blob.
        if number.is_multiple_of(10) {
            target.pull(&reference).await.unwrap();
            target.check();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_at_once_are_one() {
    let (server, source, target) = (Server::start(), Place::with_artifact(), Place::empty());
    let reference = server.reference("twice");
    source.publish(&reference).await.unwrap();
    let words = ["pull", &reference.to_string()];
    let spawn = || command(&words, target.dir.path(), "{}").spawn().unwrap();
    let processes = [spawn(), spawn(), spawn()];
    let (first, second) = tokio::join!(target.pull(&reference), target.pull(&reference));
    for process in processes {
        ended(&process.wait_with_output().unwrap()).unwrap();
    }
    assert_eq!(first.unwrap().artifact, second.unwrap().artifact);
    target.check();
    let store = Arc::new(Store::open(&target.dir.path().join("store")).unwrap());
    check(&store);
    let parts = fs::read_dir(target.dir.path().join("store/tmp")).unwrap();
    let left = parts.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|end| end == "part")
    });
    assert_eq!(left.count(), 0);
}

/// Random moments of something that takes a known time.
struct Moments {
    random: Random,
    all: Duration,
    /// Processes that were started, and those that were not done when they were killed.
    tried: u32,
    killed: u32,
}

impl Moments {
    fn new(all: Duration) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos();
        let seed = match env::var(SEED) {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => u64::from(now) + 1,
        };
        println!("{SEED}={seed}; undisturbed it takes {all:?}");
        let random = Random(seed);
        Self {
            random,
            all,
            tried: 0,
            killed: 0,
        }
    }

    /// Kills the process somewhere in the middle.
    fn kill(&mut self, command: &mut Command) {
        let moment = self.all.mul_f64((self.random.next() % 10_000) as f64 / 10_000.0);
        let mut child = command.spawn().unwrap();
        sleep(moment);
        let running = child.try_wait().unwrap().is_none();
        self.tried += 1;
        if running {
            self.killed += 1;
        } else {
            // The machine had more to do when it was measured.
            self.all = self.all.mul_f64(0.9);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
