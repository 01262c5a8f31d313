//! The time of decisions by stage, summed up over samples, and only while somebody looks.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::telemetry::Stopwatch;
use crate::telemetry::stages::{Laps, Stage};

/// Upper bounds of the buckets in nanoseconds: from 100 ns, about a look-up.
const BOUNDS: [u64; 11] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
/// How long after a scrape decisions are measured: longer than usual scrapers take to come again.
const WATCHED: Duration = Duration::from_secs(120);
/// One decision in so many is measured meanwhile.
const ONE_IN: u64 = 64;

/// What one stage took.
#[derive(Debug)]
struct Times {
    /// One more than the bounds: the last is everything slower.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// What each stage took, and whether that is looked at.
#[derive(Debug)]
pub(super) struct Stages {
    times: [Times; Stage::ALL.len()],
    start: Stopwatch,
    /// Milliseconds since the start until which decisions are measured; 0: they are not.
    until: AtomicU64,
    seen: AtomicU64,
}

impl Default for Stages {
    fn default() -> Self {
        let times = |_| Times { buckets: std::array::from_fn(|_| AtomicU64::new(0)), nanoseconds: AtomicU64::new(0) };
        Self {
            times: std::array::from_fn(times),
            start: Stopwatch::start(),
            until: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        }
    }
}

impl Stages {
    /// Somebody looks: decisions are measured for a while.
    pub(super) fn watch(&self) {
        self.watch_for(WATCHED);
    }

    fn watch_for(&self, time: Duration) {
        let until = u64::try_from((self.start.elapsed() + time).as_millis()).unwrap_or(u64::MAX);
        self.until.store(until, Ordering::Relaxed);
    }

    /// Measures the decision that begins now, where it is one to measure. While nobody looks: one relaxed load.
    pub(super) fn sample(&self) -> Option<Laps> {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 || !self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(ONE_IN) {
            return None;
        }
        if self.start.milliseconds() < until {
            return Some(Laps::sampled());
        }
        // Where a scrape came meanwhile, its word holds.
        let _scraped = self.until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
        None
    }

    /// Adds what was measured.
    pub(super) fn add(&self, laps: &Laps) {
        for (stage, nanoseconds) in laps.times() {
            let Some(times) = self.times.get(stage as usize) else { continue };
            let bucket = BOUNDS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(BOUNDS.len());
            if let Some(counter) = times.buckets.get(bucket) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            times.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        }
    }
}

impl Collector for Stages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time of a decision by stage, in seconds: one decision in 64, for two minutes after each scrape";
        let name = "decision_stage_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (stage, times) in Stage::ALL.into_iter().zip(&self.times) {
            let bounds = BOUNDS.into_iter().map(|bound| Duration::from_nanos(bound).as_secs_f64());
            let counts = times.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
            let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum = Duration::from_nanos(times.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
            family
                .encode_family(&[("stage", stage.name())])?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn one_in_64_is_measured_and_only_while_somebody_looks() {
        let stages = Stages::default();
        let sampled = || (0..640).filter(|_| stages.sample().is_some()).count();
        assert_eq!(sampled(), 0, "nobody looked yet");
        assert_eq!(stages.seen.load(Ordering::Relaxed), 0, "and nothing was counted");
        stages.watch();
        assert_eq!(sampled(), 10);
        stages.watch_for(Duration::ZERO);
        assert_eq!(sampled(), 0, "nobody looks any more");
        assert_eq!(stages.until.load(Ordering::Relaxed), 0);
        stages.watch();
        assert_eq!(sampled(), 10, "and again");
    }

    #[test]
    fn sums_and_buckets_hold_what_was_measured() {
        let metrics = Metrics::new(&[]);
        assert!(metrics.sample().is_none());
        let empty = metrics.render().unwrap();
        assert!(empty.contains("cedargate_decision_stage_seconds_count{stage=\"engine\"} 0"), "{empty}");
        let laps = metrics.sample().expect("a scrape came");
        for stage in [Stage::Route, Stage::Engine, Stage::Engine] {
            laps.lap(stage);
        }
        let engine = laps.times().find(|(stage, _)| *stage == Stage::Engine).unwrap().1;
        metrics.measured(&laps);
        metrics.measured(&laps);
        let text = metrics.render().unwrap();
        let value = |series: &str| -> f64 {
            let name = format!("cedargate_decision_stage_seconds_{series} ");
            let line =
                text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{name}\n{text}"));
            line.parse().unwrap()
        };
        let count = |stage: &str| value(&format!("count{{stage=\"{stage}\"}}"));
        assert_eq!((count("route"), count("engine"), count("write")), (2.0, 2.0, 0.0));
        let sum = Duration::from_nanos(2 * engine).as_secs_f64();
        assert!((value("sum{stage=\"engine\"}") - sum).abs() < 1e-12);
        assert_eq!(value("bucket{le=\"+Inf\",stage=\"engine\"}"), 2.0);
        assert_eq!(value("bucket{le=\"1e-7\",stage=\"write\"}"), 0.0);
    }

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        assert!(BOUNDS.is_sorted());
        let stages = Stages::default();
        let laps = Laps::sampled();
        laps.lap(Stage::Write);
        stages.add(&laps);
        let nanoseconds = laps.times().next().unwrap().1;
        let times = &stages.times[Stage::Write as usize];
        let filled = times.buckets.iter().position(|bucket| bucket.load(Ordering::Relaxed) == 1).unwrap();
        assert!(BOUNDS.get(filled).is_none_or(|bound| nanoseconds <= *bound));
        assert!(filled == 0 || BOUNDS[filled - 1] < nanoseconds);
    }
}
