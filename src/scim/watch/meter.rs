//! How near a connection is to the quarantine that Microsoft Entra puts failing applications into (its documentation,
//! "Application provisioning in quarantine status": from 5,000 failures on when more than 40 % fail, or more than
//! 40,000 failures). Other providers have no such rule, and the same figures tell their admins as much. Pure.

use std::collections::VecDeque;

use crate::domain::Timestamp;

/// One provisioning cycle of Entra: 40 minutes, in parts of 5.
const PART: i64 = 5 * 60_000;
const PARTS: i64 = 8;
/// Minutes that are looked at.
pub(super) const WINDOW_MINUTES: i64 = PART * PARTS / 60_000;

/// Entra's rule.
const FAILURES_WITH_SHARE: u64 = 5_000;
const SHARE_PERCENT: u64 = 40;
const FAILURES_ALONE: u64 = 40_000;
/// Fewer requests say nothing of a share.
const LEAST_REQUESTS: u64 = 10;

/// How a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Nothing came within the window.
    Idle,
    /// Most works.
    Healthy,
    /// More fails than Entra's share allows, of few requests yet.
    Failing,
    /// Half way to a quarantine: half of the failures and of the share, or half of the failures that suffice alone.
    Close,
    /// Entra quarantines an application that fails like this.
    Quarantine,
    /// The provider uses a token that has ended; Entra quarantines that at once.
    TokenRefused,
}

impl Risk {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Healthy => "healthy",
            Self::Failing => "failing",
            Self::Close => "close to quarantine",
            Self::Quarantine => "quarantine",
            Self::TokenRefused => "token refused",
        }
    }
}

/// Requests and failures of the last cycle.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    /// The beginning of each part, requests and failures; oldest first.
    parts: VecDeque<(i64, u64, u64)>,
}

impl Meter {
    /// Counts a request.
    pub fn count(&mut self, now: Timestamp, failed: bool) {
        self.forget(now);
        let begins = now.0.div_euclid(PART) * PART;
        match self.parts.back_mut() {
            Some((at, requests, failures)) if *at >= begins => {
                *requests += 1;
                *failures += u64::from(failed);
            }
            Some(_) | None => self.parts.push_back((begins, 1, u64::from(failed))),
        }
    }

    /// Requests and failures within the window.
    pub fn read(&mut self, now: Timestamp) -> (u64, u64) {
        self.forget(now);
        self.parts.iter().fold((0, 0), |(all, bad), (_, requests, failures)| (all + requests, bad + failures))
    }

    fn forget(&mut self, now: Timestamp) {
        let begins = now.0.div_euclid(PART) * PART - PART * (PARTS - 1);
        while self.parts.front().is_some_and(|(at, ..)| *at < begins) {
            self.parts.pop_front();
        }
    }
}

/// What Entra would make of it.
pub(super) fn risk(requests: u64, failures: u64) -> Risk {
    let above = |percent: u64| failures * 100 > requests * percent;
    if (failures >= FAILURES_WITH_SHARE && above(SHARE_PERCENT)) || failures > FAILURES_ALONE {
        Risk::Quarantine
    } else if (failures >= FAILURES_WITH_SHARE / 2 && above(SHARE_PERCENT / 2)) || failures > FAILURES_ALONE / 2 {
        Risk::Close
    } else if requests >= LEAST_REQUESTS && above(SHARE_PERCENT) {
        Risk::Failing
    } else if requests == 0 {
        Risk::Idle
    } else {
        Risk::Healthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_has_its_edges_where_entra_has_them() {
        let cases = [
            (0, 0, Risk::Idle),
            (9, 9, Risk::Healthy),
            (10, 4, Risk::Healthy),
            (10, 5, Risk::Failing),
            (12_500, 2_499, Risk::Healthy),
            (12_499, 2_500, Risk::Close),
            (12_500, 5_000, Risk::Close),
            (12_499, 5_000, Risk::Quarantine),
            (1_000_000, 20_000, Risk::Healthy),
            (1_000_000, 20_001, Risk::Close),
            (1_000_000, 40_001, Risk::Quarantine),
        ];
        for (requests, failures, expected) in cases {
            assert_eq!(risk(requests, failures), expected, "{failures} of {requests}");
        }
    }

    #[test]
    fn a_cycle_is_remembered_and_no_more() {
        let mut meter = Meter::default();
        for minute in 0..200 {
            meter.count(Timestamp(minute * 60_000), minute % 2 == 0);
            assert!(meter.parts.len() <= 8);
        }
        let (requests, failures) = meter.read(Timestamp(199 * 60_000));
        assert_eq!((requests, failures), (40, 20));
        assert_eq!(meter.read(Timestamp(1_000 * 60_000)), (0, 0));
    }
}
