//! What the process says about itself: log, metrics, health, and how long things take.
//!
//! Knows the nouns of `domain` for labels and nothing of anybody's internals: rooms hand their numbers
//! in. Nothing here may slow a decision down: the log is written by a thread of its own behind a bounded
//! queue, and everything that is counted on the decision path is an atomic that was prepared beforehand.

pub mod health;
pub mod log;
pub mod metrics;
pub mod stages;

use std::time::{Duration, Instant};

pub use health::{Health, Readiness};
pub use log::{LogConfig, LogFormat, LogGuard};
pub use metrics::{CacheUse, ListenerMetrics, Metrics, Miss};
pub use stages::{Laps, Stage};

/// Measures how long something takes, on the monotonic clock. The only place that asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "the one place that measures durations")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start; it never runs backwards.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Milliseconds since the start.
    pub fn milliseconds(self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds from the start to so long after another one's start; no clock is read.
    pub fn milliseconds_to(self, other: Self, and: Duration) -> u64 {
        let between = other.0.saturating_duration_since(self.0).saturating_add(and);
        u64::try_from(between.as_millis()).unwrap_or(u64::MAX)
    }
}
