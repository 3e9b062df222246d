//! Relays TCP connections from inside a network namespace.
//!
//! A socket belongs to the network namespace in which it was created: listeners may be from any namespace, and a thread
//! that has moved into the cluster's connects from there.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use super::NetNs;

/// The pause after a connection could not be accepted.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Where connections go.
pub(super) trait Target: Send + 'static {
    /// Connects with the server; `None` if none answers.
    async fn connect(&self) -> Option<TcpStream>;
}

impl Target for SocketAddr {
    async fn connect(&self) -> Option<TcpStream> {
        TcpStream::connect(self).await.ok()
    }
}

/// Serves the listeners from a thread called `name` inside `namespace`, as long as this process lives. `lost` is logged if
/// that fails.
pub(super) fn serve<T: Target>(
    name: &str,
    lost: &'static str,
    namespace: NetNs,
    listeners: Vec<(StdListener, T)>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(move || {
        if let Err(error) = serve_here(&namespace, listeners) {
            tracing::error!(%error, "{lost}");
        }
    })
}

fn serve_here<T: Target>(namespace: &NetNs, listeners: Vec<(StdListener, T)>) -> io::Result<()> {
    namespace.enter()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let serving = listeners
            .into_iter()
            .map(|(listener, target)| Ok(accept(TcpListener::from_std(listener)?, Rc::new(target))))
            .collect::<io::Result<Vec<_>>>()?;
        futures::future::join_all(serving).await;
        Ok(())
    })
}

async fn accept<T: Target>(listener: TcpListener, target: Rc<T>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                spawn_local(relay(client, Rc::clone(&target)));
            }
            Err(error) => {
                // Most likely too many open files: wait until connections end.
                tracing::warn!(%error, "could not accept a connection");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn relay<T: Target>(mut client: TcpStream, target: Rc<T>) {
    // Closes the client's connection if no server answers.
    let Some(mut server) = target.connect().await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
