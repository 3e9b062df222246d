//! How many bytes were moved, for the report at the end and for who waits meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Span, field, info_span};

/// Bytes of blobs: config and layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Sent over the network, in bytes.
    pub moved: u64,
    /// Already there, in bytes.
    pub skipped: u64,
    /// Deltas that layers were made of, in bytes: part of what was sent, or was there from an earlier try.
    pub deltas: u64,
    /// The layers that were made of deltas, in bytes. They were not sent.
    pub made: u64,
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
    moved: AtomicU64,
    skipped: AtomicU64,
    deltas: AtomicU64,
    made: AtomicU64,
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

    pub(super) fn moved(&self, bytes: u64) {
        self.counts.moved.fetch_add(bytes, Ordering::Relaxed);
        self.show();
    }

    pub(super) fn skipped(&self, bytes: u64) {
        self.counts.skipped.fetch_add(bytes, Ordering::Relaxed);
        self.show();
    }

    /// A layer of `layer` bytes was made of a delta of `delta` bytes.
    pub(super) fn made(&self, delta: u64, layer: u64) {
        self.counts.deltas.fetch_add(delta, Ordering::Relaxed);
        self.counts.made.fetch_add(layer, Ordering::Relaxed);
        self.show();
    }

    pub(super) fn amount(&self) -> Amount {
        Amount {
            moved: self.counts.moved.load(Ordering::Relaxed),
            skipped: self.counts.skipped.load(Ordering::Relaxed),
            deltas: self.counts.deltas.load(Ordering::Relaxed),
            made: self.counts.made.load(Ordering::Relaxed),
        }
    }

    fn show(&self) {
        let Amount {
            moved,
            skipped,
            deltas,
            made,
        } = self.amount();
        // What a delta spares is done too.
        let done = (moved + skipped + made).saturating_sub(deltas);
        // What had to be moved twice is no further progress.
        self.span.record("done_bytes", done.min(self.total));
    }
}
