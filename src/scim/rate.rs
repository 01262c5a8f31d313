//! How fast a connection may ask: a token bucket. Pure; the time is a parameter.

use crate::domain::Timestamp;

/// So many seconds of the allowed rate may come at once: an identity provider's cycle begins with a burst.
const BURST_SECONDS: u32 = 5;

/// What is left of a connection's allowance, in thousandths of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    left: u64,
    filled: Option<Timestamp>,
}

impl Bucket {
    /// Takes one request out; `per_second` 0 sets no limit.
    ///
    /// # Errors
    /// The whole seconds, at least 1, after which there is one again.
    pub fn take(&mut self, now: Timestamp, per_second: u32) -> Result<(), u64> {
        if per_second == 0 {
            return Ok(());
        }
        let rate = u64::from(per_second);
        let full = rate * u64::from(BURST_SECONDS) * 1_000;
        // A clock that ran backwards gives nothing and takes nothing.
        let passed = self.filled.map_or(u64::MAX, |filled| u64::try_from(now.0 - filled.0).unwrap_or(0));
        self.left = self.left.saturating_add(passed.saturating_mul(rate)).min(full);
        self.filled = Some(now);
        if self.left < 1_000 {
            return Err((1_000 - self.left).div_ceil(rate).div_ceil(1_000).max(1));
        }
        self.left -= 1_000;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut bucket = Bucket::default();
        let passed = (0..1_000).filter(|_| bucket.take(Timestamp(0), 25).is_ok()).count();
        assert_eq!(passed, 125);
        assert_eq!(bucket.take(Timestamp(0), 25), Err(1));
        let passed = (0..100).filter(|_| bucket.take(Timestamp(2_000), 25).is_ok()).count();
        assert_eq!(passed, 50);
    }

    #[test]
    fn the_rate_itself_is_never_refused() {
        let mut bucket = Bucket::default();
        for request in 0..10_000 {
            assert_eq!(bucket.take(Timestamp(request * 40), 25), Ok(()), "request {request} at 25 a second");
        }
    }

    #[test]
    fn zero_sets_no_limit_and_a_clock_that_runs_backwards_does_no_harm() {
        let mut bucket = Bucket::default();
        assert!((0..100_000).all(|_| bucket.take(Timestamp(0), 0).is_ok()));
        let mut bucket = Bucket::default();
        assert!((0..5).all(|_| bucket.take(Timestamp(9_000), 1).is_ok()));
        assert_eq!(bucket.take(Timestamp(0), 1), Err(1));
        assert_eq!(bucket.take(Timestamp(1_000), 1), Ok(()));
    }
}
