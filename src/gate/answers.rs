//! Answers kept: the identical question, on the identical state of the world, has the identical answer.
//!
//! Nothing is analysed and nothing invalidated. A key is the whole text of a question as it was sent, compared whole,
//! with the channel that the gateway's settings give it; beside the answer stands what it rests on
//! ([`Basis`]): ledger revision, bundle, and the span of time for which it holds. Any change of the directory or of the
//! policies is another state, under which nothing that was kept is found. Of questions with a credential those are kept
//! whose token was believed, for as long as it would be believed again; what a password proves is not.
//!
//! The table is of fixed size, with places apart for long questions; a look-up takes no lock and allocates nothing. An
//! answer takes a place from the second time on that its question is asked on one revision: what is never asked again costs
//! a mark, and so does everything while changes pour in.

use std::sync::Arc;

use crate::authz::table::{Spot, Table};
use crate::authz::{Basis, View};
use crate::domain::{Asked, Channel, Decision, Question, Reason, Subject};
use crate::token::Proof;

/// Sets of places for questions that name somebody, a power of two: 65,536 answers. One of usual length takes less than a
/// kilobyte with its question.
const SETS: usize = 1 << 14;
/// The same for questions with a token: 16,384 answers.
const LONG_SETS: usize = 1 << 12;
/// Longer questions and answers are not kept, in bytes: a table of texts full of the longest takes 140 MiB, and 75 for tokens.
const SHORT_QUESTION: usize = 512;
const LONGEST_QUESTION: usize = 2944;
/// The longest text that is worth keeping.
pub const LONGEST_ANSWER: usize = 896;
/// Room for a question and its answer in one piece with what they rest on, in bytes: for nearly all of our own dialect.
pub const ROOM: usize = 640;

/// An answer with its question.
#[derive(Debug)]
pub struct Kept<A, const ROOM: usize> {
    /// What it rests on.
    pub basis: Basis,
    /// What else the answer is made from.
    pub answer: A,
    channel: Channel,
    /// Where the question ends, and where the answer's text behind it does.
    question: usize,
    end: usize,
    /// Side by side with all else, since everything is read where one is, mostly for the first time in a long while.
    texts: Texts<ROOM>,
}

#[derive(Debug)]
enum Texts<const ROOM: usize> {
    Here([u8; ROOM]),
    Apart(Box<[u8]>),
}

impl<const ROOM: usize> Texts<ROOM> {
    fn new(question: &[u8], text: &[u8]) -> Self {
        let mut here = [0; ROOM];
        let places = here.get_mut(..question.len() + text.len()).map(|place| place.split_at_mut(question.len()));
        match places {
            Some((first, second)) => {
                first.copy_from_slice(question);
                second.copy_from_slice(text);
                Self::Here(here)
            }
            None => Self::Apart([question, text].concat().into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Here(bytes) => bytes,
            Self::Apart(bytes) => bytes,
        }
    }
}

/// The table. Question and answer of at most `ROOM` bytes lie in one piece of memory with what they rest on.
pub struct Answers<A, const ROOM: usize>(Table<Kept<A, ROOM>>);

/// Where a question's answer would stand.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    question: &'a [u8],
    channel: Channel,
    spot: Spot,
}

impl<A, const ROOM: usize> Answers<A, ROOM> {
    /// An empty table.
    pub fn new() -> Self {
        Self(Table::new(SETS + LONG_SETS))
    }

    /// The place of a question as it was sent; `None` where it is too long to be kept.
    pub fn place<'a>(&self, question: &'a [u8], channel: Channel) -> Option<Place<'a>> {
        if question.len() > LONGEST_QUESTION {
            return None;
        }
        let (first, sets) = if question.len() <= SHORT_QUESTION { (0, SETS) } else { (SETS, LONG_SETS) };
        Some(Place { question, channel, spot: self.0.spot_within((question, channel), first, sets) })
    }

    /// What was answered to this very question, whatever has happened since: the caller asks whether it still holds.
    pub fn find(&self, place: &Place<'_>) -> Option<Arc<Kept<A, ROOM>>> {
        self.0.find(place.spot, |kept| kept.is_of(place).then(|| Arc::clone(kept)))
    }

    /// Keeps an answer if its question comes again, as far as marks tell that.
    ///
    /// `text` is the answer without the decision's id, which is new each time; empty where each is written anew.
    pub fn keep(&self, place: &Place<'_>, basis: Basis, text: &[u8], answer: impl FnOnce() -> A) {
        if !self.0.is_asked_again(place.spot, basis.mark()) {
            return;
        }
        let state = basis.clone();
        let (texts, question) = (Texts::new(place.question, text), place.question.len());
        let end = question + text.len();
        let kept = Kept { basis, answer: answer(), channel: place.channel, question, end, texts };
        let is_stale = |kept: &Kept<A, ROOM>| !kept.basis.is_of_the_state_of(&state);
        self.0.put(place.spot, Arc::new(kept), |kept| kept.is_of(place), is_stale);
    }
}

impl<A, const ROOM: usize> Default for Answers<A, ROOM> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A, const ROOM: usize> Kept<A, ROOM> {
    fn is_of(&self, place: &Place<'_>) -> bool {
        self.channel == place.channel && self.question() == place.question
    }

    /// The question as it was sent.
    pub fn question(&self) -> &[u8] {
        self.texts.bytes().get(..self.question).unwrap_or_default()
    }

    /// The answer's text without the decision's id.
    pub fn text(&self) -> &[u8] {
        self.texts.bytes().get(self.question..self.end).unwrap_or_default()
    }

    /// The channel that the gateway's settings, or its batch, gave the question.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Whether it may be given again now.
    pub fn holds(&self, view: &View<'_>) -> bool {
        view.repeats(&self.basis)
    }
}

/// A question in bytes, where a gateway asked it in another form: each part with its length in front, so that no two
/// questions look alike. `None` where something is asked that is never kept.
pub fn key(question: &Question<'_>) -> Option<Vec<u8>> {
    let (kind, subject) = match question.subject {
        Subject::User(name) => (b'u', name),
        Subject::Id(id) => (b'i', id),
        Subject::Authorization(header) => (b'a', header),
        Subject::Claims(_) | Subject::Principal(_) | Subject::Entity(_) => return None,
    };
    let Asked::Request { method, host, path } = question.asked else { return None };
    if !question.context.is_empty() || question.least_revision.is_some() {
        return None;
    }
    let mut key = Vec::with_capacity(64 + subject.len() + path.len());
    key.extend_from_slice(&[kind, u8::from(host.is_some())]);
    for part in [subject, method, host.unwrap_or(""), path] {
        key.extend_from_slice(&part.len().to_be_bytes());
        key.extend_from_slice(part.as_bytes());
    }
    Some(key)
}

/// What an answer rests on that may be kept: where the question names its subject, or a token did that was believed.
/// What another credential proves, and that one was not believed, is found out each time.
pub fn basis(question: &Question<'_>, decision: &Decision, doubts: u64, proof: Option<Proof>) -> Option<Basis> {
    let basis = Basis::of(decision, doubts);
    match (question.subject, proof) {
        (Subject::User(_) | Subject::Id(_), _) => Some(basis),
        (Subject::Authorization(_), Some(proof)) if decision.reason != Reason::Unauthenticated => {
            Some(basis.proved_by(proof))
        }
        (
            Subject::Authorization(_) | Subject::Claims(_) | Subject::Principal(_) | Subject::Entity(_),
            None | Some(_),
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::authz::{Authz, AuthzConfig};
    use crate::clock::{Clock as _, HandClock, SeededRandom, Sources};
    use crate::directory::Directory;
    use crate::domain::{
        AccessMethods, AccountImage, AdministrationLevel, Change, Image, OrganizationImage, Revision, Timestamp,
        UserImage,
    };
    use crate::gate::credentials::GateConfig;
    use crate::gate::{Gate, native};
    use crate::http::{Method, Request, Response};
    use crate::policy::{Bundle, Live, Source};
    use crate::telemetry::Metrics;
    use crate::token::Verifier;

    const DAY: i64 = 86_400_000;

    struct World {
        clock: Arc<HandClock>,
        directory: Arc<Directory>,
        live: Arc<Live>,
        metrics: Arc<Metrics>,
        authz: Arc<Authz>,
        revision: u64,
    }

    impl World {
        fn new(self_check_every: u64) -> Self {
            let clock = Arc::new(HandClock::new(Timestamp(500 * DAY)));
            let sources = Sources { clock: clock.clone(), random: Arc::new(SeededRandom::new(1)) };
            let (directory, metrics) = (Arc::new(Directory::empty()), Arc::new(Metrics::new(&[])));
            let live = Arc::new(Live::new(Arc::new(Bundle::load(&Source::Shipped).expect("sound"))));
            let config = AuthzConfig { self_check_every, ..AuthzConfig::default() };
            let verifier = Arc::new(Verifier::default());
            let (people, bundle, counted) = (Arc::clone(&directory), Arc::clone(&live), Arc::clone(&metrics));
            let authz = Arc::new(Authz::new(&config, people, bundle, verifier, &sources, counted));
            let mut world = Self { clock, directory, live, metrics, authz, revision: 0 };
            world.change(1, Image::Organization(OrganizationImage { id: "acme".into() }));
            let account = AccountImage { id: "100".into(), organization: 1, products: vec!["UC".into()] };
            world.change(2, Image::Account(account));
            world.person(true, 0);
            world
        }

        fn change(&mut self, number: u32, image: Image) {
            self.revision += 1;
            let revision = Revision { epoch: 1, number: self.revision };
            self.directory.apply(revision, &[Change { number, image }]);
        }

        /// The person, with a password as old; every second time of the dashboard alone, where passwords age.
        fn person(&mut self, active: bool, password_days: i64) {
            let image = UserImage {
                id: "019aa8e1-0000-7000-8000-000000000003".into(),
                organization: 1,
                username: "jdoe".into(),
                login: None,
                external_ids: std::collections::BTreeMap::new(),
                linked_again: None,
                active,
                locked: false,
                level: AdministrationLevel::BasicUser,
                methods: AccessMethods { dashboard: true, api: self.revision.is_multiple_of(2) },
                roles: vec!["Ordering".into()],
                assigned: true,
                accounts: vec![2],
                password_changed_at: Some(Timestamp(self.clock.now().0 - password_days * DAY)),
            };
            self.change(3, Image::User(image));
        }

        fn gate(&self) -> Gate {
            Gate::new(Arc::clone(&self.authz), GateConfig::default())
        }

        fn kept_answers(&self) -> usize {
            let text = self.metrics.render().expect("text");
            let lines = text.lines().filter(|line| line.contains("cache=\"answer\""));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
        }
    }

    fn question(path: &str, channel: &str) -> Request {
        let mut request = Request::new(Method::POST, "/v1/authorize");
        let asked = json!({"method": "GET", "path": path});
        let body = json!({"subject": {"user": "jdoe"}, "request": asked, "channel": channel});
        request.body = body.to_string().into();
        request
    }

    /// About no account, of somebody who must have one named.
    fn unnamed() -> Request {
        let mut request = Request::new(Method::POST, "/v1/authorize");
        let body = json!({"subject": {"user": "jdoe"}, "action": "listOrders", "channel": "dashboard"});
        request.body = body.to_string().into();
        request
    }

    fn ask(gate: &Gate, request: &Request) -> Response {
        native::again(gate, request)
            .unwrap_or_else(|laps| futures_executor(async { native::authorize(gate, request, laps.as_ref()).await }))
    }

    fn futures_executor<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(work)
    }

    /// An answer without its id.
    fn said(response: Response) -> serde_json::Value {
        let bytes = response.into_body().whole().cloned().unwrap_or_default();
        let mut answer: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        let id = answer.as_object_mut().and_then(|answer| answer.remove("id")).expect("an id");
        assert_eq!(id.as_str().map(str::len), Some(36));
        answer
    }

    #[test]
    fn what_is_kept_says_what_a_gate_without_memory_says_whatever_changes() {
        let mut world = World::new(0);
        let (gate, other) = (world.gate(), world.gate());
        let paths = ["/api/accounts/100/orders", "/api/users/jdoe", "/api/accounts/7/orders", "/nowhere", "/a//b"];
        let mut reasons = std::collections::BTreeSet::new();
        for round in 0..60_i64 {
            match round % 6 {
                0 => world.person(round % 4 == 0, round),
                1 => world.live.swap(Arc::clone(&world.live.serving().bundle)),
                // To the very moment at which a password of ninety days ends, one before it, and beyond.
                2 => world.person(true, 90),
                3 => world.clock.advance(-1),
                4 => world.clock.advance(2),
                _ => world.clock.advance(-30 * DAY),
            }
            let asked = paths.iter().flat_map(|path| ["api", "dashboard"].map(|channel| question(path, channel)));
            for request in asked.chain([unnamed()]) {
                // This way looks at nothing that was kept.
                let fresh = said(futures_executor(native::authorize(&other, &request, None)));
                assert_eq!(said(ask(&gate, &request)), fresh, "round {round}");
                for time in ["kept", "given again"] {
                    assert_eq!(said(ask(&gate, &request)), fresh, "round {round}, {time}");
                }
                reasons.insert(fresh["reason"]["code"].to_string());
            }
        }
        assert!(world.kept_answers() > 600, "{} answers were kept", world.kept_answers());
        assert!(reasons.len() >= 6, "{reasons:?}");
    }

    #[test]
    fn nothing_is_kept_of_tokens_that_are_not_believed_or_of_long_questions() {
        let world = World::new(0);
        let gate = world.gate();
        let mut by_token = question("/api/accounts/100/orders", "api");
        let subject = json!({"authorization": "Bearer x.y.z"});
        let body = json!({"subject": subject, "request": {"method": "GET", "path": "/api/accounts/100/orders"}});
        by_token.body = body.to_string().into();
        let long = question(&format!("/api/accounts/100/orders?{}", "a".repeat(LONGEST_QUESTION)), "api");
        for request in [by_token, long] {
            (0..3).for_each(|_| drop(ask(&gate, &request)));
            assert!(native::again(&gate, &request).is_err());
        }
        assert_eq!(world.kept_answers(), 0);
    }

    #[test]
    fn now_and_then_an_answer_is_made_anew_and_a_difference_is_an_alarm() {
        let world = World::new(3);
        let gate = world.gate();
        let request = question("/api/accounts/100/orders", "api");
        let first = said(ask(&gate, &request));
        assert_eq!(said(ask(&gate, &request)), first, "kept");
        let given: usize = (0..30).filter(|_| native::again(&gate, &request).is_ok()).count();
        assert_eq!(given, 1, "the fourth decision waits for whoever asks the long way");
        assert_eq!(said(ask(&gate, &request)), first);
        assert_eq!(world.authz.self_check(), Ok(()));

        let place = gate.answers.place(&request.body, crate::domain::Channel::Api).expect("short");
        let kept = gate.answers.find(&place).expect("kept");
        let seeded = b"{\"decision\":\"permit\",\"seeded\":1";
        // The second time at the latest.
        gate.answers.keep(&place, kept.basis.clone(), seeded, || ());
        gate.answers.keep(&place, kept.basis.clone(), seeded, || ());
        while native::again(&gate, &request).is_ok() {}
        assert_eq!(said(ask(&gate, &request)), first, "made anew");
        assert!(world.authz.self_check().expect_err("a finding").contains("differed from one made anew"));
    }
}
