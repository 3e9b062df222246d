//! Counting transferred bytes, for progress bars and the final report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Span, field, info_span};

use crate::http::Observer;

/// Bytes of blobs, that is config and layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransferStats {
    /// Sent over the network, in bytes.
    pub transferred: u64,
    /// Present before, in bytes.
    pub skipped: u64,
    /// Deltas that layers were rebuilt from, in bytes. They were transferred, or left by an earlier attempt.
    pub delta_bytes: u64,
    /// Layers that were rebuilt from deltas, in bytes. They were not transferred.
    pub rebuilt: u64,
}

/// Counts bytes and shows them in a span, a step with `total_bytes` and `done_bytes`.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    span: Span,
    total: u64,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    transferred: AtomicU64,
    skipped: AtomicU64,
    delta_bytes: AtomicU64,
    rebuilt: AtomicU64,
}

impl Progress {
    pub(super) fn new(what: &str, total: u64) -> Self {
        Self {
            span: info_span!("step", what, total_bytes = total, done_bytes = field::Empty),
            total,
            counts: Arc::default(),
        }
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn transferred(&self, bytes: u64) {
        self.counts.transferred.fetch_add(bytes, Ordering::Relaxed);
        self.show();
    }

    pub(super) fn skipped(&self, bytes: u64) {
        self.counts.skipped.fetch_add(bytes, Ordering::Relaxed);
        self.show();
    }

    /// A layer of `layer` bytes was rebuilt from a delta of `delta` bytes.
    pub(super) fn rebuilt(&self, delta: u64, layer: u64) {
        self.counts.delta_bytes.fetch_add(delta, Ordering::Relaxed);
        self.counts.rebuilt.fetch_add(layer, Ordering::Relaxed);
        self.show();
    }

    pub(super) fn stats(&self) -> TransferStats {
        TransferStats {
            transferred: self.counts.transferred.load(Ordering::Relaxed),
            skipped: self.counts.skipped.load(Ordering::Relaxed),
            delta_bytes: self.counts.delta_bytes.load(Ordering::Relaxed),
            rebuilt: self.counts.rebuilt.load(Ordering::Relaxed),
        }
    }

    fn show(&self) {
        let stats = self.stats();
        // A rebuilt layer counts in full, in place of its delta.
        let done = (stats.transferred + stats.skipped + stats.rebuilt).saturating_sub(stats.delta_bytes);
        // Bytes that were transferred twice are no further progress.
        self.span.record("done_bytes", done.min(self.total));
    }
}

impl Observer for Progress {
    fn started(&self, _start: u64, _length: Option<u64>) {}

    fn received(&self, bytes: u64) {
        self.transferred(bytes);
    }
}
