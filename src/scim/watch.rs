//! What this process knows of each connection at work: its allowance, its failures, its deactivations, when it was
//! last heard. In memory and bounded; what must outlive the process (last use of a token, a raised alarm) is noted in
//! the store by whoever asks here.

pub(super) mod meter;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use meter::Risk;

use super::alarm::{Alarm, AlarmRule, Window};
use super::rate::Bucket;
use crate::domain::Timestamp;

/// Connections that are remembered at a time; beyond, the one that was silent longest is forgotten.
const MOST_CONNECTIONS: usize = 10_000;
/// How often a repeated refusal of one kind (too fast, an ended token) is logged.
const REPEATED: i64 = 60_000;
/// How often the last use of a token is written down.
const USE_WRITTEN: i64 = 3_600_000;
/// After so many events of a connection its log is cut to what is kept.
const EVENTS_BETWEEN_CUTS: u32 = 500;
/// Tokens whose last use is remembered for a connection; two live at a time.
const MOST_TOKENS: usize = 16;

/// Which sort of answer a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutcomeClass {
    /// Below 400.
    Success,
    /// 400 to 499 beside the two below.
    Refused,
    /// 401: an ended token of this connection.
    Unauthenticated,
    /// 429.
    Limited,
    /// 500 and above.
    Failed,
}

impl OutcomeClass {
    /// The class of a status.
    pub const fn of(status: u16) -> Self {
        match status {
            401 => Self::Unauthenticated,
            429 => Self::Limited,
            400..500 => Self::Refused,
            500.. => Self::Failed,
            0..400 => Self::Success,
        }
    }

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused => "refused",
            Self::Unauthenticated => "unauthenticated",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}

/// How a connection stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Requests since the start of the process, by class.
    pub counts: BTreeMap<OutcomeClass, u64>,
    /// Of any sort.
    pub last_request: Option<Timestamp>,
    /// Below 400.
    pub last_success: Option<Timestamp>,
    /// What the client calls itself (`User-Agent`).
    pub client: String,
    /// Requests within [`Self::WINDOW_MINUTES`], 429 aside.
    pub requests: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// What Entra would make of it.
    pub risk: Risk,
    /// Raised and not settled yet.
    pub alarm: Option<Alarm>,
    /// When each token was last used, as far as this process saw it.
    pub tokens: BTreeMap<String, Timestamp>,
}

impl Standing {
    /// The minutes that requests and failures are counted over.
    pub const WINDOW_MINUTES: i64 = meter::WINDOW_MINUTES;

    /// The share that fails, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn failure_ratio(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.failures as f64 / self.requests as f64 }
    }
}

/// Too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limited {
    /// Whole seconds to wait.
    pub seconds: u64,
    /// Whether this one is logged; those that follow at once are only counted.
    pub logged: bool,
}

/// Everything at work.
#[derive(Default)]
pub(super) struct Watch {
    connections: Mutex<HashMap<String, Live>>,
    /// Events that could not be logged.
    lost: AtomicU64,
}

#[derive(Default)]
struct Live {
    bucket: Bucket,
    meter: meter::Meter,
    window: Window,
    alarm: Option<Alarm>,
    counts: BTreeMap<OutcomeClass, u64>,
    last_request: Option<Timestamp>,
    last_success: Option<Timestamp>,
    token_refused: bool,
    client: String,
    tokens: BTreeMap<String, Used>,
    logged: BTreeMap<OutcomeClass, Timestamp>,
    events: u32,
}

#[derive(Clone, Copy)]
struct Used {
    at: Timestamp,
    written: Option<Timestamp>,
}

impl Watch {
    fn connections(&self) -> MutexGuard<'_, HashMap<String, Live>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, connection: &str, work: impl FnOnce(&mut Live) -> T) -> T {
        let mut connections = self.connections();
        if let Some(live) = connections.get_mut(connection) {
            return work(live);
        }
        if connections.len() >= MOST_CONNECTIONS {
            let silent = connections.iter().filter(|(_, live)| live.alarm.is_none());
            let longest = silent.min_by_key(|(_, live)| live.last_request).map(|(id, _)| id.clone());
            if let Some(id) = longest {
                connections.remove(&id);
            }
        }
        work(connections.entry(connection.to_owned()).or_default())
    }

    /// A request came.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn admit(&self, connection: &str, client: &str, per_second: u32, now: Timestamp) -> Result<(), Limited> {
        self.with(connection, |live| {
            live.last_request = Some(now);
            if live.client != client {
                client.clone_into(&mut live.client);
            }
            let logged = |live: &mut Live| live.is_due(OutcomeClass::Limited, now);
            live.bucket.take(now, per_second).map_err(|seconds| Limited { seconds, logged: logged(live) })
        })
    }

    /// A token was used: whether that is to be written down now.
    pub fn used(&self, connection: &str, token: &str, now: Timestamp) -> bool {
        self.with(connection, |live| {
            if !live.tokens.contains_key(token) {
                if live.tokens.len() >= MOST_TOKENS {
                    let silent = live.tokens.iter().min_by_key(|(_, used)| used.at).map(|(id, _)| id.clone());
                    silent.map(|id| live.tokens.remove(&id));
                }
                live.tokens.insert(token.to_owned(), Used { at: now, written: None });
            }
            let Some(used) = live.tokens.get_mut(token) else { return true };
            used.at = now;
            let due = used.written.is_none_or(|written| now.0 - written.0 >= USE_WRITTEN);
            if due {
                used.written = Some(now);
            }
            due
        })
    }

    /// A request was answered.
    pub fn answered(&self, connection: &str, status: u16, now: Timestamp) {
        self.with(connection, |live| {
            let class = OutcomeClass::of(status);
            *live.counts.entry(class).or_default() += 1;
            match class {
                OutcomeClass::Success => {
                    live.last_success = Some(now);
                    live.token_refused = false;
                    live.meter.count(now, false);
                }
                OutcomeClass::Unauthenticated => {
                    live.token_refused = true;
                    live.meter.count(now, true);
                }
                OutcomeClass::Refused | OutcomeClass::Failed => live.meter.count(now, true),
                // The provider waits and tries again.
                OutcomeClass::Limited => {}
            }
        });
    }

    /// Whether an ended token's use is to be logged now.
    pub fn log_refused_token(&self, connection: &str, now: Timestamp) -> bool {
        self.with(connection, |live| live.is_due(OutcomeClass::Unauthenticated, now))
    }

    /// Somebody was deactivated. Answers how many within the window, with the first of them, unless an alarm stands.
    pub fn deactivated(
        &self,
        connection: &str,
        rule: &AlarmRule,
        now: Timestamp,
        event: &str,
    ) -> Option<(u32, Timestamp, String)> {
        self.with(connection, |live| {
            let count = live.window.push(rule, now, event);
            if let Some(alarm) = &mut live.alarm {
                alarm.deactivated = alarm.deactivated.saturating_add(1);
                return None;
            }
            live.window.first().map(|(at, first)| (count, at, first))
        })
    }

    /// Raises an alarm; `false` where one stands already.
    pub fn raise(&self, connection: &str, alarm: Alarm) -> bool {
        self.with(connection, |live| {
            let new = live.alarm.is_none();
            live.alarm.get_or_insert(alarm);
            new
        })
    }

    /// Settles the alarm; counting begins anew.
    pub fn settle(&self, connection: &str) -> Option<Alarm> {
        self.with(connection, |live| {
            live.window.clear();
            live.alarm.take()
        })
    }

    /// The alarm that stands.
    pub fn alarm(&self, connection: &str) -> Option<Alarm> {
        self.connections().get(connection)?.alarm.clone()
    }

    /// The connections with an alarm.
    pub fn alarmed(&self) -> Vec<(String, u32)> {
        let connections = self.connections();
        let alarmed = connections.iter().filter_map(|(id, live)| Some((id.clone(), live.alarm.as_ref()?.deactivated)));
        let mut alarmed: Vec<_> = alarmed.collect();
        alarmed.sort();
        alarmed
    }

    /// The connection is gone.
    pub fn forget(&self, connection: &str) {
        self.connections().remove(connection);
    }

    /// An event was logged: whether the log is to be cut now.
    pub fn is_cut_due(&self, connection: &str) -> bool {
        self.with(connection, |live| {
            live.events += 1;
            let due = live.events >= EVENTS_BETWEEN_CUTS;
            if due {
                live.events = 0;
            }
            due
        })
    }

    /// How it stands.
    pub fn standing(&self, connection: &str, now: Timestamp) -> Standing {
        let mut connections = self.connections();
        connections.get_mut(connection).map_or_else(|| Live::default().standing(now), |live| live.standing(now))
    }

    /// All of them, by id.
    pub fn standings(&self, now: Timestamp) -> BTreeMap<String, Standing> {
        self.connections().iter_mut().map(|(id, live)| (id.clone(), live.standing(now))).collect()
    }

    /// An event could not be logged.
    pub fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Live {
    fn is_due(&mut self, class: OutcomeClass, now: Timestamp) -> bool {
        let due = self.logged.get(&class).is_none_or(|last| now.0 - last.0 >= REPEATED);
        if due {
            self.logged.insert(class, now);
        }
        due
    }

    fn standing(&mut self, now: Timestamp) -> Standing {
        let (requests, failures) = self.meter.read(now);
        let risk = if self.token_refused { Risk::TokenRefused } else { meter::risk(requests, failures) };
        Standing {
            counts: self.counts.clone(),
            last_request: self.last_request,
            last_success: self.last_success,
            client: self.client.clone(),
            requests,
            failures,
            risk,
            alarm: self.alarm.clone(),
            tokens: self.tokens.iter().map(|(id, used)| (id.clone(), used.at)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_once_a_minute() {
        let watch = Watch::default();
        let ask = |at| watch.admit("c", "Okta", 1, Timestamp(at)).map_err(|limited| limited.logged);
        assert!((0..5).all(|_| ask(0).is_ok()));
        assert_eq!((ask(0), ask(1), ask(2)), (Err(true), Err(false), Err(false)));
        (0..5).for_each(|_| assert!(ask(60_000).is_ok()));
        assert_eq!(ask(60_000), Err(true));
    }

    #[test]
    fn an_ended_token_shows_until_one_works() {
        let watch = Watch::default();
        watch.answered("c", 401, Timestamp(1));
        assert_eq!(watch.standing("c", Timestamp(1)).risk, Risk::TokenRefused);
        watch.answered("c", 201, Timestamp(2));
        let standing = watch.standing("c", Timestamp(2));
        assert_eq!((standing.risk, standing.requests, standing.failures), (Risk::Healthy, 2, 1));
        assert_eq!(standing.last_success, Some(Timestamp(2)));
    }

    #[test]
    fn the_last_use_is_written_once_an_hour() {
        let watch = Watch::default();
        let due: Vec<bool> = [0, 1, 3_599_999, 3_600_000].map(|at| watch.used("c", "t", Timestamp(at))).to_vec();
        assert_eq!(due, [true, false, false, true]);
        assert_eq!(watch.standing("c", Timestamp(0)).tokens["t"], Timestamp(3_600_000));
    }

    #[test]
    fn of_many_tokens_those_used_last_are_remembered() {
        let watch = Watch::default();
        watch.used("c", "aaa", Timestamp(0));
        for turn in 1..100 {
            watch.used("c", &format!("t{turn}"), Timestamp(turn));
            assert!(!watch.used("c", "aaa", Timestamp(turn)), "in use, and its last use is not written again");
        }
        assert_eq!(watch.standing("c", Timestamp(0)).tokens.len(), MOST_TOKENS);
    }

    #[test]
    fn an_alarm_stands_until_it_is_settled_and_counting_begins_anew() {
        let watch = Watch::default();
        let rule = AlarmRule::default();
        let first = watch.deactivated("c", &rule, Timestamp(1), "e1").unwrap();
        assert_eq!(first, (1, Timestamp(1), "e1".to_owned()));
        let alarm = Alarm { at: Timestamp(2), since: "e1".into(), since_time: Timestamp(1), deactivated: 1, of: None };
        assert!(watch.raise("c", alarm.clone()) && !watch.raise("c", alarm));
        assert_eq!(watch.deactivated("c", &rule, Timestamp(3), "e2"), None);
        assert_eq!(watch.alarmed(), [("c".to_owned(), 2)]);
        assert_eq!(watch.settle("c").map(|alarm| alarm.deactivated), Some(2));
        assert_eq!(watch.deactivated("c", &rule, Timestamp(4), "e3").map(|(count, ..)| count), Some(1));
    }

    #[test]
    fn the_silent_are_forgotten_before_it_grows_too_large() {
        let watch = Watch::default();
        for number in 0..MOST_CONNECTIONS + 10 {
            watch.admit(&number.to_string(), "", 0, Timestamp(number as i64)).unwrap();
        }
        assert_eq!(watch.connections().len(), MOST_CONNECTIONS);
        assert!(watch.standing("0", Timestamp(0)).last_request.is_none());
    }
}
