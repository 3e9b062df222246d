//! Runs asynchronous code of the libraries.

use anyhow::Context;

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    Ok(runtime.context("could not start threads")?.block_on(future))
}
