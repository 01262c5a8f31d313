//! Why the engine had to be asked: what a cache ratio alone does not tell.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Why an outcome was not found but evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Nothing stood in its row: nobody who looks the same to the policies has asked since they were put in service, or
    /// what they were told was displaced.
    First,
    /// It has no row (the policies read more than a row holds), and nothing held under its whole key: nobody asked
    /// about these very people and things as they are now, or that was displaced or its time was over.
    NoRow,
    /// As [`Self::NoRow`], and the policies read a context that is part of the key: each different one is another key.
    Context,
    /// The context is too long to be part of a key: never kept.
    TooLong,
    /// Something that it is about has no number to make a key of: an entity of the bundle's own, an account or a person
    /// that the directory does not know, another organization, an account that is not named. Never kept.
    Unkeyed,
    /// The policies look at the time in a way that may change the outcome at any moment: never kept.
    Momentary,
    /// A policy erred: never kept.
    Error,
}

impl Miss {
    pub(super) const ALL: [Self; 7] =
        [Self::First, Self::NoRow, Self::Context, Self::TooLong, Self::Unkeyed, Self::Momentary, Self::Error];

    /// The label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::NoRow => "no-row",
            Self::Context => "context",
            Self::TooLong => "too-long",
            Self::Unkeyed => "unkeyed",
            Self::Momentary => "momentary",
            Self::Error => "error",
        }
    }
}

/// Misses by reason.
#[derive(Debug, Default)]
pub(super) struct Misses([AtomicU64; Miss::ALL.len()]);

impl Misses {
    pub(super) fn count(&self, miss: Miss) {
        if let Some(counter) = self.0.get(miss as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Collector for Misses {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Decisions for which the engine was asked, by the reason why nothing kept served";
        let mut family = encoder.encode_descriptor("cache_misses", help, None, MetricType::Counter)?;
        for (miss, counter) in Miss::ALL.into_iter().zip(&self.0) {
            let count = counter.load(Ordering::Relaxed);
            let labels = [("reason", miss.name())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn every_reason_of_a_miss_has_its_own_counter() {
        let metrics = Metrics::new(&[]);
        for (times, miss) in Miss::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| metrics.cache_miss(miss));
        }
        let text = metrics.render().unwrap();
        for (times, miss) in Miss::ALL.into_iter().enumerate() {
            let line = format!("cedargate_cache_misses_total{{reason=\"{}\"}} {times}", miss.name());
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
    }
}
