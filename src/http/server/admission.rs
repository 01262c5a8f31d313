//! Admission by queue delay: while every request waits too long for a processor, some are refused before they are read.
//!
//! A watcher sleeps and looks how late it wakes: as late as any request that becomes ready at that moment. Once is noise;
//! a delay that stays above the limit for a whole span is a queue that does not empty (the idea of CoDel, RFC 8289).
//! Then a share of the requests gets 503 at once, a greater one span by span until the queue is short again, so that
//! those which are admitted are answered while somebody still waits for them. Knows neither routes nor what is asked.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::{ListenerMetrics, Stopwatch};

/// How long the watcher sleeps each time, and how many times make a span.
const STEP: Duration = Duration::from_millis(10);
const STEPS: u32 = 10;
/// Shares are of so many.
const WHOLE: u32 = 1024;
/// By so much the share grows in a span; and the most: whoever is refused always has a chance the next time.
const MORE: u32 = WHOLE / 8;
const MOST: u32 = WHOLE / 10 * 9;

/// Who is let in, of all connections of a listener.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// So many of [`WHOLE`] are refused.
    share: AtomicU32,
    turn: AtomicU64,
}

impl Admission {
    /// Whether the next request is let in. One atomic load while there is no queue.
    pub(super) fn admits(&self) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        if share == 0 {
            return true;
        }
        // Multiples of the golden ratio spread evenly: the refused are neither neighbours nor always the same.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        turn >> 54 >= u64::from(share)
    }

    /// Watches for as long as it is polled.
    pub(super) async fn watch(&self, limit: Duration, metrics: &ListenerMetrics) {
        loop {
            let mut least = Duration::MAX;
            for _ in 0..STEPS {
                let slept = Stopwatch::start();
                tokio::time::sleep(STEP).await;
                least = least.min(slept.elapsed().saturating_sub(STEP));
            }
            metrics.queue_delay(least);
            self.note(least, limit);
        }
    }

    /// Lets everybody in: nobody watches any more.
    pub(super) fn rest(&self) {
        self.share.store(0, Ordering::Relaxed);
    }

    /// Takes the least delay of a span.
    fn note(&self, least: Duration, limit: Duration) {
        let share = self.share.load(Ordering::Relaxed);
        let next = if least > limit { (share + MORE).min(MOST) } else { share / 2 };
        // A rest too small to matter is none.
        self.share.store(if next < MORE / 8 { 0 } else { next }, Ordering::Relaxed);
        if share == 0 && next > 0 {
            tracing::warn!(
                queue_delay_ms = least.as_millis(),
                "requests wait too long for a processor; some are refused"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    fn admitted(admission: &Admission) -> usize {
        (0..10_000).filter(|_| admission.admits()).count()
    }

    #[test]
    fn everybody_is_let_in_until_a_queue_stays() {
        let admission = Admission::default();
        admission.note(LIMIT, LIMIT);
        assert_eq!(admitted(&admission), 10_000);
    }

    #[test]
    fn the_longer_the_queue_stays_the_fewer_get_in_and_never_nobody() {
        let admission = Admission::default();
        let mut before = 10_000;
        for _ in 0..7 {
            admission.note(LIMIT * 2, LIMIT);
            let now = admitted(&admission);
            assert!(now + 1_000 < before, "{now} after {before}");
            before = now;
        }
        (0..100).for_each(|_| admission.note(LIMIT * 2, LIMIT));
        assert!((900..1_300).contains(&admitted(&admission)));
    }

    #[test]
    fn once_the_queue_is_short_everybody_gets_in_again_soon() {
        let admission = Admission::default();
        (0..100).for_each(|_| admission.note(LIMIT * 2, LIMIT));
        (0..7).for_each(|_| admission.note(Duration::ZERO, LIMIT));
        assert_eq!(admitted(&admission), 10_000);
    }

    #[test]
    fn the_refused_are_spread_evenly() {
        let admission = Admission::default();
        (0..4).for_each(|_| admission.note(LIMIT * 2, LIMIT));
        let (mut longest, mut run) = (0, 0);
        for _ in 0..10_000 {
            run = if admission.admits() { 0 } else { run + 1 };
            longest = longest.max(run);
        }
        assert!(longest <= 2, "half are refused, and {longest} in a row");
    }
}
