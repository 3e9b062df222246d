//! Looking at clusters, on threads of their own: one asks only this host, the other the chosen cluster's API, which may
//! take its time.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_up::events::Tail;
use parbake_up::{ClusterName, list, status, usage};
use tracing::subscriber::{NoSubscriber, with_default};

use super::model::Seen;
use super::update::Message;

/// The time between two looks at the log of events.
const GLANCE: Duration = Duration::from_millis(100);
/// The time between two looks at the host, and at the API.
const PAUSE: Duration = Duration::from_secs(1);

/// The threads that look.
pub(super) struct Looker {
    chosen: Arc<Chosen>,
    threads: Vec<JoinHandle<()>>,
}

/// The cluster that is to be looked at closely.
#[derive(Default)]
struct Chosen {
    name: Mutex<Option<ClusterName>>,
    changed: Condvar,
}

impl Chosen {
    fn name(&self) -> MutexGuard<'_, Option<ClusterName>> {
        // A name is whole at any moment.
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a choice other than `last`, or for a pause.
    fn next(&self, last: Option<&ClusterName>) -> Option<ClusterName> {
        let same = |name: &mut Option<ClusterName>| name.as_ref() == last;
        let waited = self.changed.wait_timeout_while(self.name(), PAUSE, same);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl Looker {
    /// Starts to look at what is below the state directory `dir`.
    pub(super) fn start(dir: &Path, sender: &Sender<Message>) -> Self {
        let chosen = Arc::new(Chosen::default());
        let (place, to) = (dir.to_owned(), sender.clone());
        // What libraries tell on the way would be written over the picture.
        let host = thread::spawn(move || with_default(NoSubscriber::new(), || host(&place, &to)));
        let (place, to, choice) = (dir.to_owned(), sender.clone(), Arc::clone(&chosen));
        let api = thread::spawn(move || with_default(NoSubscriber::new(), || api(&place, &to, &choice)));
        Self {
            chosen,
            threads: vec![host, api],
        }
    }

    /// Says which cluster is to be looked at closely.
    pub(super) fn choose(&self, name: Option<&ClusterName>) {
        let mut chosen = self.chosen.name();
        if chosen.as_ref() != name {
            *chosen = name.cloned();
            self.chosen.changed.notify_all();
        }
    }

    /// Whether all threads are still at work.
    pub(super) fn is_whole(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }
}

/// Looks at the host until nobody wants to know any more.
fn host(dir: &Path, sender: &Sender<Message>) {
    let mut tail = Tail::from_the_beginning(dir);
    loop {
        let seen = Message::Clusters(Timestamp::now(), clusters(dir));
        if sender.send(seen).is_err() {
            return;
        }
        let next = Instant::now() + PAUSE;
        while Instant::now() < next {
            let events = tail.more();
            let new = !events.is_empty();
            if new && sender.send(Message::Events(events)).is_err() {
                return;
            }
            thread::sleep(GLANCE);
            // Where something happened there is something to see.
            if new {
                break;
            }
        }
    }
}

fn clusters(dir: &Path) -> Result<Vec<Seen>, String> {
    let listed = list(dir).map_err(|error| error.to_string())?;
    let seen = listed.into_iter().map(|listed| Seen {
        // It may be gone by now.
        taken: usage(dir, &listed.name).ok().flatten(),
        listed,
    });
    Ok(seen.collect())
}

fn api(dir: &Path, sender: &Sender<Message>, chosen: &Chosen) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = sender.send(Message::Broken(format!(
                "could not start to look at clusters: {error}"
            )));
            return;
        }
    };
    let mut last = None;
    loop {
        last = chosen.next(last.as_ref());
        let Some(name) = &last else { continue };
        // One that is gone is in no list any more, either.
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
