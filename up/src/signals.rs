//! Signals that ask this process to end.

use std::future::pending;

use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

/// Resolves on SIGINT or SIGTERM; never if no handler can be installed.
pub(crate) async fn interrupted() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut received) => received.recv().await.unwrap_or(()),
            Err(_) => pending().await,
        }
    };
    let interrupt = async {
        if ctrl_c().await.is_err() {
            pending().await
        }
    };
    tokio::select! { () = terminate => (), () = interrupt => () }
}
