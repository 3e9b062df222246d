//! How many bytes were moved, for the report at the end and for who waits meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Span, field, info_span};

/// Bytes of blobs: config and layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransferStats {
    /// Sent over the network, in bytes.
    pub transferred: u64,
    /// Already there, in bytes.
    pub skipped: u64,
    /// Deltas that layers were made of, in bytes: part of what was sent, or was there from an earlier try.
    pub delta_bytes: u64,
    /// The layers that were made of deltas, in bytes. They were not sent.
    pub rebuilt: u64,
}

/// Counts bytes, and shows them in a span: a step with `total_bytes` and `done_bytes`.
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

    /// The step: what is part of it runs in there.
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

    /// A layer of `layer` bytes was made of a delta of `delta` bytes.
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
        let TransferStats {
            transferred,
            skipped,
            delta_bytes,
            rebuilt,
        } = self.stats();
        // What a delta spares is done too.
        let done = (transferred + skipped + rebuilt).saturating_sub(delta_bytes);
        // What had to be moved twice is no further progress.
        self.span.record("done_bytes", done.min(self.total));
    }
}
