//! Polls the clusters on two threads: one reads only this host, the other asks the selected cluster's API, which may be
//! slow.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_up::events::Tail;
use parbake_up::{ClusterName, list, status, usage};
use tracing::subscriber::{NoSubscriber, with_default};

use super::model::ClusterRow;
use super::update::Message;

/// How often to read the event log.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// How often to read the host and the API.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Poller {
    selected: Arc<Selected>,
    threads: Vec<JoinHandle<()>>,
}

/// The selected cluster.
#[derive(Default)]
struct Selected {
    name: Mutex<Option<ClusterName>>,
    changed: Condvar,
}

impl Selected {
    fn name(&self) -> MutexGuard<'_, Option<ClusterName>> {
        // The name is valid even if a thread panicked.
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another cluster than `last` is selected, for one interval at most.
    fn next(&self, last: Option<&ClusterName>) -> Option<ClusterName> {
        let same = |name: &mut Option<ClusterName>| name.as_ref() == last;
        let waited = self.changed.wait_timeout_while(self.name(), POLL_INTERVAL, same);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl Poller {
    /// `dir` is the state directory.
    pub(super) fn start(dir: &Path, sender: &Sender<Message>) -> Self {
        let selected = Arc::new(Selected::default());
        let (state, to) = (dir.to_owned(), sender.clone());
        // Log lines would be printed over the page.
        let host = thread::spawn(move || with_default(NoSubscriber::new(), || poll_host(&state, &to)));
        let (state, to, cluster) = (dir.to_owned(), sender.clone(), Arc::clone(&selected));
        let api =
            thread::spawn(move || with_default(NoSubscriber::new(), || poll_api(&state, &to, &cluster)));
        Self {
            selected,
            threads: vec![host, api],
        }
    }

    /// Selects the cluster whose API is polled.
    pub(super) fn select(&self, name: Option<&ClusterName>) {
        let mut selected = self.selected.name();
        if selected.as_ref() != name {
            *selected = name.cloned();
            self.selected.changed.notify_all();
        }
    }

    /// True while all threads run.
    pub(super) fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }
}

/// Polls the host until the receiver is gone.
fn poll_host(dir: &Path, sender: &Sender<Message>) {
    let mut tail = Tail::from_start(dir);
    loop {
        let clusters = Message::Clusters(Timestamp::now(), clusters(dir));
        if sender.send(clusters).is_err() {
            return;
        }
        let next = Instant::now() + POLL_INTERVAL;
        while Instant::now() < next {
            let events = tail.read_new();
            let new = !events.is_empty();
            if new && sender.send(Message::Events(events)).is_err() {
                return;
            }
            thread::sleep(EVENT_INTERVAL);
            // An event means that a cluster changed.
            if new {
                break;
            }
        }
    }
}

fn clusters(dir: &Path) -> Result<Vec<ClusterRow>, String> {
    let listed = list(dir).map_err(|error| error.to_string())?;
    let rows = listed.into_iter().map(|listed| ClusterRow {
        // The cluster may have been removed.
        usage: usage(dir, &listed.name).ok().flatten(),
        listed,
    });
    Ok(rows.collect())
}

fn poll_api(dir: &Path, sender: &Sender<Message>, selected: &Selected) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = sender.send(Message::Broken(format!(
                "could not start to poll clusters: {error}"
            )));
            return;
        }
    };
    let mut last = None;
    loop {
        last = selected.next(last.as_ref());
        let Some(name) = &last else { continue };
        // A cluster that was removed also leaves the list.
        let Ok(status) = runtime.block_on(status(dir, name)) else {
            continue;
        };
        if sender
            .send(Message::Status(Timestamp::now(), Box::new(status)))
            .is_err()
        {
            return;
        }
    }
}
