//! The bundle that serves now: one pointer, swapped whole.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::load::Bundle;

/// A bundle in service, with its place in the order of swaps: part of every cache key, so that an answer of
/// an earlier bundle cannot be found, even where the same files come back.
#[derive(Debug)]
pub struct Serving {
    /// Counts swaps from 1.
    pub generation: u64,
    /// The bundle.
    pub bundle: Arc<Bundle>,
}

/// Hands out the bundle in service.
#[derive(Debug)]
pub struct Live {
    serving: ArcSwap<Serving>,
}

impl Live {
    /// The first bundle.
    pub fn new(bundle: Arc<Bundle>) -> Self {
        Self { serving: ArcSwap::from_pointee(Serving { generation: 1, bundle }) }
    }

    /// The bundle in service; keep it for a whole decision.
    pub fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// Puts another bundle in service.
    pub fn swap(&self, bundle: Arc<Bundle>) {
        self.serving.rcu(|before| Serving { generation: before.generation + 1, bundle: Arc::clone(&bundle) });
    }
}
