//! How long each stage of one decision takes, for whoever looks: dashboards and a gateway that asks.
//!
//! Knows the names of the stages and nothing of what happens in them. Most decisions carry no [`Laps`] at all.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::{CacheUse, Stopwatch};

/// A stage of a decision, in the order in which they mostly come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The body was read into a question.
    Parse,
    /// The revision that the question asks for was waited for.
    Wait,
    /// The caller's credential was verified, or its password compared.
    Token,
    /// The path was canonicalised and matched, or the action found.
    Route,
    /// The person was found, with their standing.
    Principal,
    /// It was looked whether the outcome is known, and an outcome was kept.
    Cache,
    /// The facts were put together and Cedar was asked.
    Engine,
    /// The answer was written.
    Write,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 8] =
        [Self::Parse, Self::Wait, Self::Token, Self::Route, Self::Principal, Self::Cache, Self::Engine, Self::Write];

    /// The word in labels and in `Server-Timing`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Wait => "wait",
            Self::Token => "token",
            Self::Route => "route",
            Self::Principal => "principal",
            Self::Cache => "cache",
            Self::Engine => "engine",
            Self::Write => "write",
        }
    }
}

/// The time of one decision, stage by stage. Belongs to one task at a time, so plain loads and stores are enough.
#[derive(Debug)]
pub struct Laps {
    watch: Stopwatch,
    asked: bool,
    /// Nanoseconds from the start to the end of the last lap.
    last: AtomicU64,
    /// Nanoseconds by stage; 0: not come to.
    times: [AtomicU64; Stage::ALL.len()],
    /// One more than the place in [`CacheUse::ALL`]; 0: not told.
    cache: AtomicU8,
}

impl Laps {
    fn start(asked: bool) -> Self {
        Self {
            watch: Stopwatch::start(),
            asked,
            last: AtomicU64::new(0),
            times: std::array::from_fn(|_| AtomicU64::new(0)),
            cache: AtomicU8::new(0),
        }
    }

    /// For somebody who asked to be told the times of this very decision.
    pub fn asked() -> Self {
        Self::start(true)
    }

    /// For the sums, which nobody waits for.
    pub(super) fn sampled() -> Self {
        Self::start(false)
    }

    /// Whether somebody waits to be told ([`Self::server_timing`]).
    pub const fn is_asked(&self) -> bool {
        self.asked
    }

    /// The time since the last lap belongs to this stage. A stage may be come to several times.
    pub fn lap(&self, stage: Stage) {
        let now = u64::try_from(self.watch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let took = now.saturating_sub(self.last.swap(now, Ordering::Relaxed));
        if let Some(time) = self.times.get(stage as usize) {
            // A stage that the clock cannot see was still come to.
            time.store(time.load(Ordering::Relaxed).saturating_add(took).max(1), Ordering::Relaxed);
        }
    }

    /// Where the answer was found.
    pub fn found(&self, cache: CacheUse) {
        self.cache.store(cache as u8 + 1, Ordering::Relaxed);
    }

    /// The stages that were come to, each with its nanoseconds.
    pub fn times(&self) -> impl Iterator<Item = (Stage, u64)> {
        let times = self.times.iter().map(|time| time.load(Ordering::Relaxed));
        Stage::ALL.into_iter().zip(times).filter(|(_, time)| *time > 0)
    }

    /// The value of `Server-Timing` (W3C Server Timing): `route;dur=0.000210, cache;desc=row;dur=0.000180`; durations
    /// are milliseconds.
    pub fn server_timing(&self) -> String {
        let mut text = String::with_capacity(Stage::ALL.len() * 24);
        let found = usize::from(self.cache.load(Ordering::Relaxed)).checked_sub(1);
        let found = found.and_then(|place| CacheUse::ALL.get(place));
        for (stage, nanoseconds) in self.times() {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(stage.name());
            if let (Stage::Cache, Some(found)) = (stage, found) {
                text.push_str(";desc=");
                text.push_str(found.name());
            }
            // Writing to a String cannot fail.
            let _ = write!(text, ";dur={}.{:06}", nanoseconds / 1_000_000, nanoseconds % 1_000_000);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laps_share_the_time_between_the_stages_that_were_come_to() {
        let laps = Laps::sampled();
        assert_eq!(laps.times().count(), 0);
        laps.lap(Stage::Route);
        laps.lap(Stage::Engine);
        let once = laps.times().map(|(_, time)| time).sum::<u64>();
        laps.lap(Stage::Route);
        let stages: Vec<Stage> = laps.times().map(|(stage, _)| stage).collect();
        assert_eq!(stages, [Stage::Route, Stage::Engine]);
        let all = laps.times().map(|(_, time)| time).sum::<u64>();
        assert!(once <= all && all <= laps.last.load(Ordering::Relaxed).max(2), "nothing is counted twice");
    }

    #[test]
    fn server_timing_is_written_as_the_standard_says() {
        let laps = Laps::asked();
        laps.times[Stage::Cache as usize].store(1_234_567, Ordering::Relaxed);
        laps.times[Stage::Route as usize].store(80, Ordering::Relaxed);
        assert_eq!(laps.server_timing(), "route;dur=0.000080, cache;dur=1.234567");
        laps.found(CacheUse::Row);
        assert_eq!(laps.server_timing(), "route;dur=0.000080, cache;desc=row;dur=1.234567");
        assert_eq!(Laps::asked().server_timing(), "");
    }

    #[test]
    fn each_cache_use_is_told_by_its_own_name() {
        for cache in CacheUse::ALL {
            let laps = Laps::asked();
            laps.lap(Stage::Cache);
            laps.found(cache);
            let told = laps.server_timing();
            assert!(told.starts_with(&format!("cache;desc={};dur=", cache.name())), "{told}");
        }
    }
}
