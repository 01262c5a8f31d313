//! When so many people are deactivated that it may be a mistake. A deactivation always takes effect at once; what
//! an alarm adds is that somebody hears of it and can take it back. Pure; the time is a parameter.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;

/// The most deactivations that are remembered; a rule cannot count further.
pub const MOST_COUNTED: u32 = 10_000;
/// A share of few people says nothing: below this many deactivations it is not looked at.
pub const LEAST_FOR_SHARE: u32 = 5;

/// When the alarm is raised: both thresholds stand alone, and 0 switches one off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlarmRule {
    /// Within how many minutes deactivations are counted.
    pub window_minutes: u32,
    /// So many deactivations raise the alarm; at most [`MOST_COUNTED`].
    pub count: u32,
    /// Such a share of the organization's active people raises it, from [`LEAST_FOR_SHARE`] deactivations on.
    pub share_percent: u32,
    /// While the alarm stands, further deactivations are refused with 429 until an operator settles it. Off by
    /// default: a person who must go would stay.
    pub hold: bool,
}

impl Default for AlarmRule {
    fn default() -> Self {
        Self { window_minutes: 10, count: 50, share_percent: 20, hold: false }
    }
}

/// A raised alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// When it was raised.
    pub at: Timestamp,
    /// The event of the first deactivation that counted: where an undo begins.
    pub since: String,
    /// When that was.
    pub since_time: Timestamp,
    /// How many people were deactivated since.
    pub deactivated: u32,
    /// How many of the organization were active before, where the share was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
}

/// The deactivations that still count, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Window(VecDeque<(Timestamp, String)>);

impl Window {
    /// Counts one; answers how many are within the window.
    pub fn push(&mut self, rule: &AlarmRule, now: Timestamp, event: &str) -> u32 {
        let begins = now.0 - i64::from(rule.window_minutes) * 60_000;
        while self.0.front().is_some_and(|(at, _)| at.0 <= begins) || self.0.len() >= MOST_COUNTED as usize {
            self.0.pop_front();
        }
        self.0.push_back((now, event.to_owned()));
        u32::try_from(self.0.len()).unwrap_or(MOST_COUNTED)
    }

    /// The oldest that counts.
    pub fn first(&self) -> Option<(Timestamp, String)> {
        self.0.front().cloned()
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl AlarmRule {
    /// No alarm is ever raised or waited for.
    pub fn off() -> Self {
        Self { count: 0, share_percent: 0, hold: false, ..Self::default() }
    }

    /// Whether anything raises it.
    pub const fn is_on(&self) -> bool {
        self.count > 0 || self.share_percent > 0
    }

    /// Whether so many deactivations, out of so many people (0: nobody looked), are too many.
    pub fn is_crossed(&self, deactivated: u32, people: Option<u64>) -> bool {
        let by_count = self.count > 0 && deactivated >= self.count;
        let share = |people: u64| u64::from(deactivated) * 100 >= people * u64::from(self.share_percent);
        by_count || (self.looks_at_share(deactivated) && people.is_some_and(share))
    }

    /// Whether the share matters at so many.
    pub const fn looks_at_share(&self, deactivated: u32) -> bool {
        self.share_percent > 0 && deactivated >= LEAST_FOR_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_threshold_raises_it_and_zero_switches_it_off() {
        let rule = AlarmRule::default();
        let cases = [
            (49, None, false),
            (50, None, true),
            (4, Some(4), false),
            (5, Some(25), true),
            (5, Some(26), false),
            (5, None, false),
        ];
        for (deactivated, people, crossed) in cases {
            assert_eq!(rule.is_crossed(deactivated, people), crossed, "{deactivated} of {people:?}");
        }
        let off = AlarmRule::off();
        assert!(!off.is_on() && !off.is_crossed(10_000, Some(10_000)));
    }

    #[test]
    fn what_is_older_than_the_window_counts_no_longer() {
        let rule = AlarmRule::default();
        let mut window = Window::default();
        assert_eq!(window.push(&rule, Timestamp(0), "a"), 1);
        assert_eq!(window.push(&rule, Timestamp(599_999), "b"), 2);
        assert_eq!(window.push(&rule, Timestamp(600_000), "c"), 2);
        assert_eq!(window.first(), Some((Timestamp(599_999), "b".to_owned())));
        for n in 0..20_000 {
            assert!(window.push(&rule, Timestamp(600_000), &n.to_string()) <= MOST_COUNTED);
        }
    }
}
