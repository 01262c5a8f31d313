//! Kept = fresh = plain Cedar = the model of the rules, for every answer, while everything changes at once.
//!
//! One thread changes people, groups, accounts and passwords, swaps the policies and turns the clock, also onto the very
//! moment at which a password is too old. Several ask: some on the present state, some slowly, on a state that they
//! took hold of before many changes landed and others kept newer outcomes. Each answer names the revision and the
//! bundle that it rests on, so there is exactly one right answer (two, where the clock was turned meanwhile). Some are
//! asked through the gate, new ones and old ones again, since it keeps whole answers.
//! `CEDARGATE_TRUTH_QUESTIONS=1000000` makes it the long run; `CEDARGATE_TEST_SEED` repeats one.

mod world;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cedargate::authz::{Authz, AuthzConfig, View};
use cedargate::clock::{HandClock, SeededRandom, Sources};
use cedargate::directory::Directory;
use cedargate::domain::{
    AccessMethods, AdministrationLevel, Asked, Channel, ContextValue, Decision, Question, Revision, Subject, Timestamp,
};
use cedargate::gate::Gate;
use cedargate::gate::credentials::GateConfig;
use cedargate::http::{Handling, Method, Reply, Request, RouteTable};
use cedargate::policy::{AccountFacts, Asker, Bundle, Facts, Live, PrincipalFacts, ResourceFacts, Source};
use cedargate::telemetry::Metrics;
use cedargate::token::Verifier;

use crate::model::{Ask, Expected, What, expect};
use crate::revocation::questions::hopeful;
use crate::support::{Dice, copy_folder, report, test_seed};
use world::{DAY, ORGANIZATION, State, States, begin, change, groups_of, id_of, person_id};

/// In `tests/run`; a build that is not optimised takes ten times as long for each.
const QUESTIONS: usize = if cfg!(debug_assertions) { 5_000 } else { 50_000 };
const ASKERS: usize = 3;
/// Questions for one change of the world.
const QUESTIONS_A_CHANGE: usize = 8;
/// Changes that a slow reader waits for before it asks, at most.
const LONGEST_BEHIND: usize = 40;
/// One answer in so many is also compared with a fresh one, and with plain Cedar's.
const COMPARED: usize = 8;
const BEGIN: Timestamp = Timestamp(1_800_000_000_000);
/// Questions that an asker remembers to ask again.
const EARLIER: usize = 64;
/// Whom the second bundle forbids everything.
const CLOSED: &str = "p3";

struct House {
    authz: Arc<Authz>,
    gate: RouteTable,
    directory: Arc<Directory>,
    live: Arc<Live>,
    bundles: [Arc<Bundle>; 2],
    clock: Arc<HandClock>,
    /// Every moment that the clock showed.
    moments: Mutex<Vec<Timestamp>>,
    states: States,
    applied: AtomicU64,
    /// The newest state that a slow reader waits for.
    wanted: AtomicU64,
    asked: AtomicUsize,
    asking: AtomicUsize,
    failed: AtomicBool,
}

#[derive(Default)]
struct Tally {
    permits: AtomicUsize,
    slow: AtomicUsize,
    fresh: AtomicUsize,
    plain: AtomicUsize,
    through_gate: AtomicUsize,
    by_second: AtomicUsize,
    passwords: AtomicUsize,
}

/// The shipped policies, and the same with one person forbidden everything by name: then outcomes rest on who asks.
fn bundles() -> [Arc<Bundle>; 2] {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), folder.path());
    let closed = format!(
        "@id(\"closed\") @title(\"Closed.\") forbid (principal == User::\"{}\", action, resource);",
        id_of(CLOSED)
    );
    std::fs::write(folder.path().join("closed.cedar"), closed).unwrap();
    [Source::Shipped, Source::Folder(folder.path().into())].map(|source| Arc::new(Bundle::load(&source).unwrap()))
}

impl House {
    fn new(dice: &mut Dice) -> Self {
        let bundles = bundles();
        let directory = Arc::new(Directory::empty());
        let live = Arc::new(Live::new(Arc::clone(&bundles[0])));
        let clock = Arc::new(HandClock::new(BEGIN));
        let sources = Sources { clock: clock.clone(), random: Arc::new(SeededRandom::new(dice.next())) };
        let verifier = Arc::new(Verifier::default());
        let config = AuthzConfig { self_check_every: 0, ..AuthzConfig::default() };
        let metrics = Arc::new(Metrics::new(&[]));
        let authz = Authz::new(&config, Arc::clone(&directory), Arc::clone(&live), verifier, &sources, metrics);
        let authz = Arc::new(authz);
        let gate = Arc::new(Gate::new(Arc::clone(&authz), GateConfig::default())).routes().build().unwrap();
        let (state, changes) = begin(dice, BEGIN);
        directory.apply(Revision { epoch: 1, number: 1 }, &changes);
        Self {
            authz,
            gate,
            directory,
            live,
            bundles,
            clock,
            moments: Mutex::new(vec![BEGIN]),
            states: States::new(1, state),
            applied: AtomicU64::new(1),
            wanted: AtomicU64::new(0),
            asked: AtomicUsize::new(0),
            asking: AtomicUsize::new(ASKERS),
            failed: AtomicBool::new(false),
        }
    }

    /// Changes the world, a little for every few questions, until nobody asks any more.
    fn turn(&self, dice: &mut Dice) {
        let mut due = 0;
        while self.asking.load(Ordering::SeqCst) > 0 {
            let is_due = self.asked.load(Ordering::SeqCst) >= due;
            if !is_due && self.applied.load(Ordering::SeqCst) >= self.wanted.load(Ordering::SeqCst) {
                std::thread::yield_now();
                continue;
            }
            due += if is_due { QUESTIONS_A_CHANGE } else { 0 };
            match dice.below(40) {
                0 => self.live.swap(Arc::clone(dice.pick(&self.bundles))),
                1..4 => self.turn_clock(dice),
                _ => {}
            }
            let (number, state) = self.states.newest();
            let mut next = State::clone(&state);
            let changes = change(dice, &mut next, *self.moments.lock().unwrap().last().unwrap());
            self.states.push(number + 1, next);
            self.directory.apply(Revision { epoch: 1, number: number + 1 }, &changes);
            self.applied.store(number + 1, Ordering::SeqCst);
        }
    }

    fn turn_clock(&self, dice: &mut Dice) {
        let step = *dice.pick(&[1, 1, -1, DAY, DAY + 1, -DAY, 45 * DAY, -45 * DAY]);
        let mut moments = self.moments.lock().unwrap();
        let next = Timestamp(moments.last().unwrap().0 + step);
        // Both under the lock: whoever counts moments knows which one the clock shows.
        moments.push(next);
        self.clock.advance(step);
    }

    fn moment(&self) -> usize {
        self.moments.lock().unwrap().len() - 1
    }

    fn moments_between(&self, from: usize, to: usize) -> Vec<Timestamp> {
        self.moments.lock().unwrap()[from..=to].to_vec()
    }

    fn ask(&self, dice: &mut Dice, tally: &Tally, questions: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut earlier: Vec<Ask> = Vec::new();
        while self.asked.load(Ordering::SeqCst) < questions && !self.failed.load(Ordering::SeqCst) {
            let least = self.applied.load(Ordering::SeqCst);
            let view = self.authz.view();
            let count = 1 + dice.below(8);
            let is_slow = dice.one_in(4);
            if is_slow {
                self.wait_for(least + 1 + dice.below(LONGEST_BEHIND) as u64);
            }
            for _ in 0..count {
                // What the world was like for this view, as far as can be guessed: a question for it.
                let state = self.states.get(if is_slow { least } else { self.states.newest().0 });
                let people: Vec<&String> = state.world.people.keys().collect();
                let who = *dice.pick(&people);
                let ask = hopeful(dice, &state.world, who);
                let compared = dice.one_in(COMPARED);
                self.judge(&view, &ask, least, compared, tally);
                if dice.one_in(3) {
                    // Twice this one, and one of long ago: what was kept of them must be no other answer.
                    for ask in [&ask, &ask].into_iter().chain(earlier.get(dice.below(EARLIER))) {
                        self.through_gate(ask, &runtime, tally);
                    }
                    if earlier.len() == EARLIER {
                        earlier.swap_remove(dice.below(EARLIER));
                    }
                    earlier.push(ask);
                }
                tally.slow.fetch_add(usize::from(is_slow), Ordering::SeqCst);
                self.asked.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Waits until the world is so much further.
    fn wait_for(&self, revision: u64) {
        self.wanted.fetch_max(revision, Ordering::SeqCst);
        while self.applied.load(Ordering::SeqCst) < revision && !self.failed.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }

    /// Asks by `POST /v1/authorize`, as a gateway does.
    fn through_gate(&self, ask: &Ask, runtime: &tokio::runtime::Runtime, tally: &Tally) {
        let mut request = Request::new(Method::POST, "/v1/authorize");
        request.body = crate::support::question(ask).to_string().into();
        let least = self.applied.load(Ordering::SeqCst);
        let from = self.moment();
        let response = match self.gate.find(&request.method, &request.path).ok().unwrap().handling {
            Handling::Now(handler) => handler(request),
            Handling::Here(handler) => match handler(request) {
                Reply::Now(response) => response,
                Reply::Later(answer) => runtime.block_on(answer),
            },
            Handling::Later(handler) => runtime.block_on(handler(request)),
            Handling::Stream(_) => panic!("a question is read whole"),
        };
        let moments = self.moments_between(from, self.moment());
        let body: serde_json::Value = serde_json::from_slice(response.into_body().whole().unwrap()).unwrap();
        let answer = crate::support::Answer::read(&body);
        let revision: u64 = answer.revision.split_once('-').unwrap().1.parse().unwrap();
        assert!(revision >= least, "an answer older than its question: {body}");
        let (state, second) = (self.states.get(revision), body["bundle"] == **self.bundles[1].id());
        let expected: Vec<Expected> = moments.iter().map(|now| right(&state, ask, *now, second)).collect();
        assert!(
            expected.iter().any(|expected| expected.agrees(answer.permit, &answer.reason)),
            "through the gate: {ask:?}\n    got {body}\n    wanted {expected:?}\n    {:?}\n    password {:?} at {moments:?}",
            state.world.people.get(&ask.who),
            state.passwords.get(&ask.who),
        );
        tally.through_gate.fetch_add(1, Ordering::SeqCst);
    }

    fn judge(&self, view: &View<'_>, ask: &Ask, least: u64, compared: bool, tally: &Tally) {
        let context = context(ask);
        let question = question(ask, &context);
        let from = self.moment();
        let decision = view.decide(&question).unwrap();
        let to = self.moment();
        let moments = self.moments_between(from, to);
        assert!(decision.revision.number >= least, "an answer older than its question: {decision:?}");
        let state = self.states.get(decision.revision.number);
        let second = *decision.bundle == **self.bundles[1].id();
        let expected: Vec<Expected> = moments.iter().map(|now| right(&state, ask, *now, second)).collect();
        let (permit, reason) = (decision.reason.permits(), decision.reason.code());
        assert!(
            expected.iter().any(|expected| expected.agrees(permit, reason)),
            "{ask:?}\n    got {decision:?}\n    wanted {expected:?}\n    {:?}\n    password {:?} at {moments:?}",
            state.world.people.get(&ask.who),
            state.passwords.get(&ask.who),
        );
        tally.permits.fetch_add(usize::from(permit), Ordering::SeqCst);
        tally.by_second.fetch_add(usize::from(second), Ordering::SeqCst);
        tally.passwords.fetch_add(usize::from(reason == "password-expired"), Ordering::SeqCst);
        if !compared {
            return;
        }
        let fresh = view.explain(&question).unwrap().decision;
        let after = self.moment();
        // Only where one moment holds for all of it can they not differ.
        if self.moments_between(from, after).iter().collect::<std::collections::BTreeSet<_>>().len() > 1 {
            return;
        }
        assert_eq!(told(&decision), told(&fresh), "kept against fresh, {ask:?}");
        tally.fresh.fetch_add(1, Ordering::SeqCst);
        if let Some((reason, policies)) = self.plainly(&state, ask, &decision, &context, moments[0]) {
            let policies: Vec<&str> = policies.iter().map(|policy| &**policy).collect();
            let kept: Vec<&str> = decision.policies.iter().map(|policy| &**policy).collect();
            assert_eq!((decision.reason.code(), kept), (reason, policies), "kept against plain Cedar, {ask:?}");
            tally.plain.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What all policies say of facts that come from the model, without index and cache. `None` where the answer comes
    /// before the policies, or from several evaluations.
    fn plainly(
        &self,
        state: &State,
        ask: &Ask,
        decision: &Decision,
        context: &[(String, ContextValue)],
        now: Timestamp,
    ) -> Option<(&'static str, Arc<[Arc<str>]>)> {
        let person = state.world.people.get(&ask.who)?;
        let What::Request { path, .. } = &ask.what else { return None };
        let account = path.split_once("/accounts/")?.1.split('/').next()?;
        let held = state.world.accounts.get(account)?;
        if !person.active || person.locked || decision.action.is_none() {
            return None;
        }
        let bundle = self.bundles.iter().find(|bundle| *bundle.id() == decision.bundle)?;
        let action = bundle.action(bundle.action_named(decision.action.as_ref()?)?)?;
        let groups = groups_of(&state.world, &ask.who);
        let mine = || state.world.groups.values().filter(|group| group.members.contains(&ask.who));
        let mut roles: Vec<&str> =
            person.roles.iter().chain(mine().flat_map(|g| &g.roles)).map(String::as_str).collect();
        let mut accounts: Vec<&str> =
            person.accounts.iter().chain(mine().flat_map(|g| &g.accounts)).map(String::as_str).collect();
        accounts.retain(|id| state.world.accounts.contains_key(*id));
        for names in [&mut roles, &mut accounts] {
            names.sort_unstable();
            names.dedup();
        }
        let id = id_of(&ask.who);
        let level = if person.admin { AdministrationLevel::AccountAdmin } else { AdministrationLevel::BasicUser };
        let principal = PrincipalFacts {
            id: &id,
            username: &ask.who,
            organization: ORGANIZATION,
            level,
            methods: AccessMethods { dashboard: person.dashboard, api: person.api },
            has_assigned_role: !roles.is_empty(),
            roles,
            groups: groups.iter().map(String::as_str).collect(),
            accounts,
            password_changed_at: state.passwords.get(&ask.who).copied(),
        };
        let products = held.products.iter().map(String::as_str).collect();
        let facts = Facts {
            principal: Asker::Person(Box::new(principal)),
            resource: ResourceFacts::Account(AccountFacts { id: account, organization: ORGANIZATION, products }),
            account: None,
            channel: if ask.dashboard { "dashboard" } else { "api" },
            now,
        };
        let read: Vec<_> = context.iter().filter(|(key, _)| action.reads(key)).cloned().collect();
        let evaluation = bundle.evaluate_plainly(action, &facts, &read).unwrap();
        Some((evaluation.reason.code(), evaluation.policies))
    }
}

/// The right answer at a moment.
fn right(state: &State, ask: &Ask, now: Timestamp, second: bool) -> Expected {
    let mut expected = expect(&state.at(&ask.who, now), ask);
    // These come before the policies.
    let before = ["no-route", "unknown-user", "deactivated", "locked"];
    if second && ask.who == CLOSED && !expected.reasons.iter().any(|reason| before.contains(reason)) {
        if expected.permit {
            expected = Expected { permit: false, reasons: Vec::new() };
        }
        expected.reasons.push("forbidden");
    }
    expected
}

fn told(decision: &Decision) -> (&str, &str, Vec<&str>, Option<&str>, u64, &str) {
    (
        decision.reason.code(),
        &decision.message,
        decision.policies.iter().map(|policy| &**policy).collect(),
        decision.action.as_deref(),
        decision.revision.number,
        &decision.bundle,
    )
}

fn context(ask: &Ask) -> Vec<(String, ContextValue)> {
    let text = |key: &str, value: &Option<String>| Some((key.to_owned(), ContextValue::Text(value.clone()?)));
    let attributes = ask.attributes.as_ref().map(|names| {
        let names = names.iter().cloned().map(ContextValue::Text).collect();
        ("attributes".to_owned(), ContextValue::Set(names))
    });
    [text("account", &ask.account), text("product", &ask.product), attributes].into_iter().flatten().collect()
}

fn question<'a>(ask: &'a Ask, context: &'a [(String, ContextValue)]) -> Question<'a> {
    let asked = match &ask.what {
        What::SignIn => Asked::Action { action: "signIn", properties: &[], resource: None },
        What::Request { method, path } => Asked::Request { method, host: None, path },
    };
    let channel = if ask.dashboard { Channel::Dashboard } else { Channel::Api };
    Question { subject: Subject::User(&ask.who), asked, channel, context, least_revision: None }
}

/// Counts an asker out however it ends, so that the world does not turn for ever.
struct Asking<'a>(&'a House);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.failed.fetch_or(std::thread::panicking(), Ordering::SeqCst);
        self.0.asking.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn kept_is_fresh_is_plain_cedar_is_the_model() {
    let questions =
        std::env::var("CEDARGATE_TRUTH_QUESTIONS").map_or(QUESTIONS, |text| text.parse().expect("a number"));
    let seed = test_seed("truth");
    let mut dice = Dice::new(seed);
    let house = House::new(&mut dice);
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for _ in 0..ASKERS {
            let (house, tally, seed) = (&house, &tally, dice.next());
            scope.spawn(move || {
                let _asking = Asking(house);
                house.ask(&mut Dice::new(seed), tally, questions);
            });
        }
        house.turn(&mut dice);
    });
    let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
    let (asked, changes) = (count(&house.asked), house.states.newest().0);
    report(&format!(
        "seed {seed}: {asked} questions, {changes} changes, {} moments; {} permitted, {} passwords expired, {} on a state \
         that had passed, {} by the second bundle; {} compared with a fresh answer, {} with plain Cedar; {} more through the gate",
        house.moment() + 1,
        count(&tally.permits),
        count(&tally.passwords),
        count(&tally.slow),
        count(&tally.by_second),
        count(&tally.fresh),
        count(&tally.plain),
        count(&tally.through_gate),
    ));
    let share = count(&tally.permits) * 100 / asked.max(1);
    assert!((10..90).contains(&share), "{share} % permitted: the questions test too little");
    for (what, of, least) in [
        ("on a passed state", &tally.slow, asked / 20),
        ("by the second bundle", &tally.by_second, asked / 20),
        ("compared with a fresh answer", &tally.fresh, asked / 40),
        ("asked through the gate", &tally.through_gate, asked / 4),
        ("compared with plain Cedar", &tally.plain, asked / 200),
        ("with an expired password", &tally.passwords, asked / 500),
    ] {
        assert!(count(of) > least, "{} of {asked} questions {what}: the test tests too little", count(of));
    }
    assert_eq!(person_id(3), id_of(CLOSED));
}
