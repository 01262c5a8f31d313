//! What is noticed of a connection, and when patience with it is over. Knows no stream: [`super::transport`] looks at it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::Version;

use super::target::Fragments;
use crate::telemetry::Stopwatch;
use crate::telemetry::metrics::Cut;

/// Bytes that a connection may send without a request, a piece of a body or a piece of an answer coming of it: pings,
/// settings, empty frames. Above, the connection is cut. More than the 1 MiB that HTTP/2 lets a client send ahead.
const LONGEST_IDLE_TALK: u64 = 2 * 1024 * 1024;

/// Requests in a row that came without their bodies while too many are waited for. Then the connection is cut: what the
/// library keeps for its streams is more than what we keep for those that wait.
const MOST_BEGGED: u32 = 32;

/// Bytes that must leave for a client to count as taking an answer: more than what answers pings, settings and questions
/// whose answers it has no room for.
const LEAST_TAKEN: usize = 512;

/// How long a connection may keep us waiting, by what for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the first byte.
    pub(super) silent: Duration,
    /// For the rest of the headers.
    pub(super) head: Duration,
    /// For the next request.
    pub(super) idle: Duration,
    /// For the client to read.
    pub(super) write_stall: Duration,
}

impl Patience {
    /// While connections are short, those that ask nothing are let go soon.
    pub(super) fn crowded(self) -> Self {
        Self { silent: self.first_tick(), head: self.head / 4, idle: self.idle.min(Duration::from_secs(1)), ..self }
    }

    /// When to look for the first time: whoever is silent until then waits behind others that would ask, if connections
    /// are short.
    pub(super) fn first_tick(self) -> Duration {
        self.head.min(self.silent) / 16
    }

    /// How often to look: a deadline is kept to an eighth.
    pub(super) fn tick(self) -> Duration {
        let shortest = self.head.min(self.idle).min(self.write_stall);
        (shortest / 8).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }
}

/// What the request path leaves behind about a connection. Times are milliseconds since it opened.
#[derive(Debug)]
pub(super) struct Vitals {
    opened: Stopwatch,
    requests: AtomicU32,
    /// Counts requests that were answered to the last byte.
    ended: AtomicU32,
    asked: AtomicBool,
    multiplexed: AtomicBool,
    idle_since: AtomicU64,
    /// When the first byte after the last request came, plus one; 0 where none did.
    head_since: AtomicU64,
    linger: AtomicBool,
    /// Counts what comes of the bytes: requests, pieces of bodies and of answers.
    progress: AtomicU32,
    /// Requests whose bodies are read piece by piece, at the handler's pace.
    streaming: AtomicU32,
    /// Answers, or parts of them, that are there and wait for the client to take them.
    unsent: AtomicU32,
    /// Counts pieces of answers that the client had room for.
    sent: AtomicU32,
    /// Requests in a row that were refused since too many bodies are waited for.
    begged: AtomicU32,
    /// Each `#` that may have stood in a target (see [`super::target`]).
    pub(super) fragments: Fragments,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self {
            opened: Stopwatch::start(),
            requests: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            asked: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            linger: AtomicBool::new(false),
            progress: AtomicU32::new(0),
            streaming: AtomicU32::new(0),
            unsent: AtomicU32::new(0),
            sent: AtomicU32::new(0),
            begged: AtomicU32::new(0),
            fragments: Fragments::default(),
        }
    }

    /// A request's headers are complete.
    pub(super) fn begin(&self, version: Version) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.progress();
        self.head_since.store(0, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.multiplexed.store(true, Ordering::Relaxed);
        }
    }

    /// An answer has been handed over to the last byte.
    pub(super) fn end(&self) {
        self.end_at(self.now());
    }

    /// The same, where the moment is known.
    pub(super) fn end_at(&self, moment: u64) {
        self.idle_since.store(moment, Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether no request is under way, and so many have been answered.
    pub(super) fn all_ended(&self, begun: u32) -> bool {
        self.requests.load(Ordering::Relaxed) == 0 && self.ended.load(Ordering::Relaxed) == begun
    }

    /// The moment of so long after the watch's start.
    pub(super) fn moment(&self, watch: Stopwatch, and: Duration) -> u64 {
        self.opened.milliseconds_to(watch, and)
    }

    /// Something came of what the client sent.
    pub(super) fn progress(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// A body is read piece by piece from now on, or no longer.
    pub(super) fn stream(&self, begins: bool) {
        count(&self.streaming, begins);
    }

    /// An answer waits for the client from now on, or no longer: it is taken, or waits for its writer.
    pub(super) fn unsent(&self, begins: bool) {
        count(&self.unsent, begins);
    }

    /// The client had room for a piece of an answer.
    pub(super) fn sent(&self) {
        self.progress();
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// A request without its body was refused: too many are waited for.
    pub(super) fn begged(&self) {
        self.begged.fetch_add(1, Ordering::Relaxed);
    }

    /// A body that was waited for came.
    pub(super) fn kept_its_word(&self) {
        self.begged.store(0, Ordering::Relaxed);
    }

    /// Whether the connection only fills places and streams with requests whose bodies do not come.
    pub(super) fn is_greedy(&self) -> bool {
        self.begged.load(Ordering::Relaxed) >= MOST_BEGGED
    }

    /// The client may still be sending a body that nobody wants: let it see the answer before the connection closes.
    pub(super) fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }

    /// Milliseconds since the connection opened.
    pub(super) fn now(&self) -> u64 {
        self.opened.milliseconds()
    }

    /// Whether the client may still be sending a body that nobody wants.
    pub(super) fn lingers(&self) -> bool {
        self.linger.load(Ordering::Relaxed)
    }

    /// Whether it has asked by HTTP/2.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    /// Whether a client of HTTP/1 has sent a part of a head: one who can be told that it was too slow.
    pub(super) fn is_within_head(&self) -> bool {
        self.head_since.load(Ordering::Relaxed) > 0 && !self.is_multiplexed()
    }

    /// Bytes came.
    pub(super) fn heard(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Whether patience is over at this moment, where the client last took something at that one ([`Taken`]). Requests in
    /// flight have deadlines of their own, answers have [`Unsent`].
    pub(super) fn verdict(&self, now: u64, taken: u64, patience: Patience) -> Option<Cut> {
        if self.requests.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let over = |since: u64, limit: Duration| Duration::from_millis(now.saturating_sub(since)) >= limit;
        let asked = self.asked.load(Ordering::Relaxed);
        let head_since = self.head_since.load(Ordering::Relaxed);
        if !asked {
            // Also a connection that never says anything: nobody connects in order to be silent.
            let limit = if head_since == 0 { patience.silent } else { patience.head };
            return over(0, limit).then_some(Cut::SlowHead);
        }
        // On HTTP/2 bytes without a request are pings and the like, which must not look like a slow header.
        if head_since > 0 && !self.multiplexed.load(Ordering::Relaxed) && over(head_since - 1, patience.head) {
            return Some(Cut::SlowHead);
        }
        // An answer that was handed over may still be on its way, in a buffer below.
        over(self.idle_since.load(Ordering::Relaxed).max(taken), patience.idle).then_some(Cut::Idle)
    }
}

fn count(counter: &AtomicU32, up: bool) {
    counter.fetch_add(if up { 1 } else { u32::MAX }, Ordering::Relaxed);
}

/// Since when answers wait and the client takes nothing. HTTP/2 lets it close its window: then nothing is written that
/// could stall, and the request never ends by itself.
#[derive(Default)]
pub(super) struct Unsent(Option<(u32, u64)>);

impl Unsent {
    /// Looked at with each tick: whether answers have waited for as long as this while nothing of them left; `taken` as
    /// [`Taken::last`] says.
    pub(super) fn is_over(&mut self, vitals: &Vitals, taken: u64, now: u64, limit: Duration) -> bool {
        if vitals.unsent.load(Ordering::Relaxed) == 0 {
            self.0 = None;
            return false;
        }
        let sent = vitals.sent.load(Ordering::Relaxed);
        match self.0 {
            Some((before, since)) if before == sent => {
                Duration::from_millis(now.saturating_sub(since.max(taken))) >= limit
            }
            Some(_) | None => {
                self.0 = Some((sent, now));
                false
            }
        }
    }
}

/// When the client last took enough of what we write for an answer to be on its way.
#[derive(Default)]
pub(super) struct Taken {
    /// Bytes that left since it was last looked.
    bytes: usize,
    at: u64,
}

impl Taken {
    pub(super) fn count(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(length)) = written {
            self.bytes += length;
        }
    }

    /// Looked at with each tick: the moment, to a tick, when something last left.
    pub(super) fn last(&mut self, now: u64) -> u64 {
        if std::mem::take(&mut self.bytes) >= LEAST_TAKEN {
            self.at = now;
        }
        self.at
    }
}

/// Bytes since something last came of them.
#[derive(Default)]
pub(super) struct Talk {
    bytes: u64,
    progress: u32,
}

impl Talk {
    /// Whether the client may go on after so many more bytes.
    pub(super) fn may_go_on(&mut self, length: usize, vitals: &Vitals) -> bool {
        let progress = vitals.progress.load(Ordering::Relaxed);
        if progress != self.progress || vitals.streaming.load(Ordering::Relaxed) > 0 {
            *self = Self { bytes: 0, progress };
        }
        self.bytes += length as u64;
        self.bytes <= LONGEST_IDLE_TALK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        silent: Duration::from_secs(8),
        head: Duration::from_secs(8),
        idle: Duration::from_secs(60),
        write_stall: Duration::from_secs(8),
    };

    #[test]
    fn a_silent_connection_has_as_long_as_the_headers() {
        let vitals = Vitals::new();
        assert_eq!(vitals.verdict(7_999, 0, PATIENCE), None);
        assert_eq!(vitals.verdict(8_000, 0, PATIENCE), Some(Cut::SlowHead));
    }

    #[test]
    fn nothing_is_cut_while_a_request_is_in_flight() {
        let vitals = Vitals::new();
        vitals.begin(Version::HTTP_11);
        assert_eq!(vitals.verdict(u64::MAX, 0, PATIENCE), None);
    }

    #[test]
    fn deadlines_hold_on_connections_of_more_than_49_days() {
        let days = u64::from(u32::MAX) + 60_000;
        let vitals = Vitals::new();
        vitals.begin(Version::HTTP_11);
        vitals.end();
        vitals.idle_since.store(days, Ordering::Relaxed);
        assert_eq!(vitals.verdict(days + 59_999, 0, PATIENCE), None);
        assert_eq!(vitals.verdict(days + 60_000, 0, PATIENCE), Some(Cut::Idle));
    }

    #[test]
    fn answers_that_the_client_does_not_take_are_over_after_a_while() {
        let (vitals, mut unsent) = (Vitals::new(), Unsent::default());
        let mut is_over = |now| unsent.is_over(&vitals, 0, now, PATIENCE.write_stall);
        assert!(!is_over(0) && !is_over(9_000), "nothing waits");
        vitals.unsent(true);
        assert!(!is_over(10_000) && !is_over(17_999) && is_over(18_000));
        // A piece that leaves begins the time anew; an answer that waits for its writer has none.
        vitals.sent();
        assert!(!is_over(18_000) && !is_over(25_999) && is_over(26_000));
        vitals.unsent(false);
        assert!(!is_over(26_000));
        vitals.unsent(true);
        assert!(!is_over(40_000) && is_over(48_000));
    }

    #[test]
    fn after_an_answer_the_idle_time_counts_until_the_next_byte() {
        let vitals = Vitals::new();
        vitals.begin(Version::HTTP_11);
        vitals.end();
        vitals.idle_since.store(10_000, Ordering::Relaxed);
        assert_eq!(vitals.verdict(69_999, 0, PATIENCE), None);
        assert_eq!(vitals.verdict(70_000, 0, PATIENCE), Some(Cut::Idle));
        vitals.head_since.store(30_001, Ordering::Relaxed);
        assert_eq!(vitals.verdict(37_999, 0, PATIENCE), None);
        assert_eq!(vitals.verdict(38_000, 0, PATIENCE), Some(Cut::SlowHead));
    }

    #[test]
    fn pings_on_http2_are_not_slow_headers() {
        let vitals = Vitals::new();
        vitals.begin(Version::HTTP_2);
        vitals.end();
        vitals.idle_since.store(0, Ordering::Relaxed);
        vitals.head_since.store(1, Ordering::Relaxed);
        assert_eq!(vitals.verdict(59_999, 0, PATIENCE), None);
        assert_eq!(vitals.verdict(60_000, 0, PATIENCE), Some(Cut::Idle));
    }

    #[test]
    fn talk_that_comes_to_nothing_ends_and_work_does_not() {
        let (vitals, mut talk) = (Vitals::new(), Talk::default());
        let half = usize::try_from(LONGEST_IDLE_TALK / 2).unwrap();
        assert!(talk.may_go_on(half, &vitals) && talk.may_go_on(half, &vitals) && !talk.may_go_on(1, &vitals));
        vitals.progress();
        assert!(talk.may_go_on(half, &vitals) && talk.may_go_on(half, &vitals) && !talk.may_go_on(1, &vitals));
        vitals.stream(true);
        assert!((0..10).all(|_| talk.may_go_on(half, &vitals)));
        vitals.stream(false);
        assert!(talk.may_go_on(half, &vitals) && !talk.may_go_on(half + 1, &vitals));
    }

    #[test]
    fn a_crowd_shortens_the_wait_for_those_who_ask_nothing() {
        let crowded = PATIENCE.crowded();
        assert_eq!((crowded.head, crowded.idle), (Duration::from_secs(2), Duration::from_secs(1)));
        let silent = Vitals::new();
        assert_eq!((silent.verdict(499, 0, crowded), silent.verdict(500, 0, crowded)), (None, Some(Cut::SlowHead)));
        silent.heard();
        assert_eq!(silent.verdict(1_999, 0, crowded), None, "it has begun to ask");
    }
}
