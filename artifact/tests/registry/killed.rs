//! Processes that are killed at random times.

use std::env;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parbake_artifact::Store;

use crate::child::{command, ended};
use crate::fixture::{Random, TestStore, assert_intact};
use crate::server::Server;

const KILLS: u32 = 100;
/// The seed of the random times, to reproduce a failure.
const SEED: &str = "PARBAKE_TEST_SEED";

#[tokio::test(flavor = "multi_thread")]
async fn killed_pull_leaves_all_or_nothing() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let reference = server.reference("killed");
    source.publish(&reference).await.unwrap();
    let target = TestStore::empty();
    let arguments = ["pull", &reference.to_string()];
    let start = Instant::now();
    ended(&command(&arguments, target.dir.path(), "{}").output().unwrap()).unwrap();
    let mut kill_times = KillTimes::new(start.elapsed());
    while kill_times.killed < KILLS {
        let target = TestStore::empty();
        kill_times.kill(&mut command(&arguments, target.dir.path(), "{}"));
        assert_intact(&target.store);
        target.pull(&reference).await.unwrap();
        target.assert_intact();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_pull_of_deltas_leaves_all_or_nothing() {
    let (server, source) = (Server::start(), TestStore::with_both());
    let reference = server.reference("killed-deltas");
    crate::deltas::publish_deltas(&source, &reference).await;
    let arguments = ["pull", &reference.to_string()];
    let (target, start) = (TestStore::with_older(), Instant::now());
    ended(&command(&arguments, target.dir.path(), "{}").output().unwrap()).unwrap();
    let mut kill_times = KillTimes::new(start.elapsed());
    while kill_times.killed < KILLS / 4 {
        let target = TestStore::with_older();
        kill_times.kill(&mut command(&arguments, target.dir.path(), "{}"));
        assert_intact(&target.store);
        target.pull(&reference).await.unwrap();
        target.assert_both_intact();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_publish_leaves_all_or_nothing() {
    let (server, source) = (Server::start(), TestStore::with_artifact());
    let text = |number: u32| server.reference(&format!("killed-{number}")).to_string();
    let start = Instant::now();
    ended(
        &command(&["publish", &text(u32::MAX)], source.dir.path(), "{}")
            .output()
            .unwrap(),
    )
    .unwrap();
    let mut kill_times = KillTimes::new(start.elapsed());
    while kill_times.killed < KILLS {
        let number = kill_times.started;
        let reference = server.reference(&format!("killed-{number}"));
        kill_times.kill(&mut command(&["publish", &text(number)], source.dir.path(), "{}"));
        source.assert_intact();
        // A visible artifact is complete.
        let target = TestStore::empty();
        match target.pull(&reference).await {
            Ok(_) => target.assert_intact(),
            Err(error) => assert!(error.to_string().contains("not found"), "{error}"),
        }
        source.publish(&reference).await.unwrap();
        // Not every time: it takes long, and the registry has checked each blob.
        if number.is_multiple_of(10) {
            target.pull(&reference).await.unwrap();
            target.assert_intact();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pulls_share_their_work() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    let reference = server.reference("twice");
    source.publish(&reference).await.unwrap();
    let arguments = ["pull", &reference.to_string()];
    let spawn = || command(&arguments, target.dir.path(), "{}").spawn().unwrap();
    let processes = [spawn(), spawn(), spawn()];
    let (first, second) = tokio::join!(target.pull(&reference), target.pull(&reference));
    for process in processes {
        ended(&process.wait_with_output().unwrap()).unwrap();
    }
    assert_eq!(first.unwrap().artifact, second.unwrap().artifact);
    target.assert_intact();
    let store = Arc::new(Store::open(&target.dir.path().join("store")).unwrap());
    assert_intact(&store);
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

/// Random times within the duration of a process.
struct KillTimes {
    random: Random,
    duration: Duration,
    /// Processes that were started.
    started: u32,
    /// Processes that were still running when they were killed.
    killed: u32,
}

impl KillTimes {
    fn new(duration: Duration) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos();
        let seed = match env::var(SEED) {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => u64::from(now) + 1,
        };
        println!("{SEED}={seed}; the process takes {duration:?}");
        let random = Random(seed);
        Self {
            random,
            duration,
            started: 0,
            killed: 0,
        }
    }

    /// Starts a process and kills it after a random time.
    fn kill(&mut self, command: &mut Command) {
        let delay = self
            .duration
            .mul_f64((self.random.next() % 10_000) as f64 / 10_000.0);
        let mut child = command.spawn().unwrap();
        sleep(delay);
        let running = child.try_wait().unwrap().is_none();
        self.started += 1;
        if running {
            self.killed += 1;
        } else {
            // The machine was slower during the measurement.
            self.duration = self.duration.mul_f64(0.9);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
