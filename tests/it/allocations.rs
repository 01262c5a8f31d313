//! How often the decision path asks for memory: an upper bound for each way through, lowered when a way gets shorter.
//!
//! Counted on the asking thread by the crate `allocation-counter`, which is the allocator of this test binary. What is
//! counted does not depend on the machine or on what runs beside it.

use std::sync::Arc;

use cedargate::authz::{Authz, AuthzConfig};
use cedargate::clock::{HandClock, SeededRandom, Sources};
use cedargate::directory::Directory;
use cedargate::domain::{
    AccessMethods, AccountImage, AdministrationLevel, Asked, Change, Channel, Image, OrganizationImage, Question,
    Revision, Subject, Timestamp, UserImage,
};
use cedargate::gate::Gate;
use cedargate::gate::credentials::GateConfig;
use cedargate::http::plain::Plain;
use cedargate::http::{Handling, Method, Request, StatusCode};
use cedargate::policy::{Bundle, Live, Source};
use cedargate::telemetry::Metrics;
use cedargate::token::Verifier;

/// A decision that stands in a row: the view, the person and account found, the outcome told.
const DECIDED_BY_ROW: u64 = 0;
/// A decision that the cache keeps under its whole key.
const DECIDED_BY_CACHE: u64 = 12;
/// `POST /v1/authorize` from its body read to its answer written, without what the listener does.
const ANSWERED: u64 = 7;
/// The same on a connection that says the same head each time, from the body that came to the answer's last byte.
const ANSWERED_ALIKE: u64 = 0;
/// How often everything is asked; a lucky single time would prove nothing.
const TIMES: u64 = 200;

struct Warm {
    authz: Arc<Authz>,
}

impl Warm {
    fn new() -> Self {
        let directory = Arc::new(Directory::empty());
        let image = |number, image| Change { number, image };
        let account = AccountImage { id: "w100".into(), organization: 1, products: vec!["UC".into()] };
        let person = UserImage {
            id: "019aa8e1-0000-7000-8000-000000000003".into(),
            organization: 1,
            username: "jdoe".into(),
            login: None,
            external_ids: std::collections::BTreeMap::new(),
            linked_again: None,
            active: true,
            locked: false,
            level: AdministrationLevel::BasicUser,
            methods: AccessMethods { dashboard: true, api: true },
            roles: vec!["Ordering".into(), "Reporting".into()],
            assigned: true,
            accounts: vec![2],
            password_changed_at: None,
        };
        let changes = [
            image(1, Image::Organization(OrganizationImage { id: "acme".into() })),
            image(2, Image::Account(account)),
            image(3, Image::User(person)),
        ];
        directory.apply(Revision { epoch: 1, number: 1 }, &changes);
        let bundle = Arc::new(Bundle::load(&Source::Shipped).unwrap());
        let clock = Arc::new(HandClock::new(Timestamp(1_800_000_000_000)));
        let sources = Sources { clock, random: Arc::new(SeededRandom::new(1)) };
        let config = AuthzConfig { self_check_every: 0, ..AuthzConfig::default() };
        let (live, verifier) = (Arc::new(Live::new(bundle)), Arc::new(Verifier::default()));
        let authz = Authz::new(&config, directory, live, verifier, &sources, Arc::new(Metrics::new(&[])));
        Self { authz: Arc::new(authz) }
    }

    fn decide(&self, method: &str, path: &str) -> &'static str {
        let asked = Asked::Request { method, host: Some("dashboard.bandwidth.com"), path };
        let (subject, channel) = (Subject::User("jdoe"), Channel::Api);
        self.authz
            .decide(&Question { subject, asked, channel, context: &[], least_revision: None })
            .unwrap()
            .reason
            .code()
    }
}

/// The most that one time took, of many, once everything is warm.
fn most(mut act: impl FnMut()) -> u64 {
    (0..3).for_each(|_| act());
    (0..TIMES).map(|_| allocation_counter::measure(&mut act).count_total).max().unwrap()
}

#[test]
fn a_warm_decision_asks_for_little_memory() {
    let warm = Warm::new();
    let permit = || assert_eq!(warm.decide("GET", "/api/accounts/w100/orders"), "role");
    let deny = || assert_eq!(warm.decide("POST", "/api/accounts/w100/sites"), "role-missing");
    let by_row = most(permit).max(most(deny));
    // Reads who asks, so nobody else can share it.
    let by_cache = most(|| assert_eq!(warm.decide("GET", "/api/users/jdoe"), "own-profile"));
    let gate = Arc::new(Gate::new(Arc::clone(&warm.authz), GateConfig::default())).routes().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = bytes::Bytes::from_static(
        br#"{"subject":{"user":"jdoe"},"request":{"method":"GET","host":"dashboard.bandwidth.com","path":"/api/accounts/w100/orders"},"channel":"api"}"#,
    );
    let answered = most(|| {
        let mut request = Request::new(Method::POST, "/v1/authorize");
        request.body = body.clone();
        let response = match gate.find(&request.method, &request.path).ok().unwrap().handling {
            Handling::Now(handler) => handler(request),
            Handling::Here(handler) => runtime.block_on(handler(request).response()),
            Handling::Later(handler) => runtime.block_on(handler(request)),
            Handling::Stream(_) => panic!("a question is read whole"),
        };
        assert_eq!(response.status(), StatusCode::OK);
    });
    let head = Request::new(Method::POST, "/v1/authorize");
    let alike = gate.alike(&head.method, &head.path).unwrap()(&head).unwrap();
    let mut text = Vec::with_capacity(4096);
    let answered_alike = most(|| {
        text.clear();
        assert!(alike(&body, &mut Plain::new(&mut text, b"Sun, 22 Nov 2026 12:00:00 GMT")));
    });
    crate::support::report(&format!(
        "allocations: {by_row} by row, {by_cache} by cache, {answered} answered, {answered_alike} on a long connection"
    ));
    assert_eq!(answered_alike, ANSWERED_ALIKE, "an answer on a long connection allocates {answered_alike} times");
    assert_eq!(by_row, DECIDED_BY_ROW, "a decision by row allocates {by_row} times, not {DECIDED_BY_ROW}");
    assert!(by_cache <= DECIDED_BY_CACHE, "a decision by the cache allocates {by_cache} times, not {DECIDED_BY_CACHE}");
    assert!(answered <= ANSWERED, "an answer allocates {answered} times, not {ANSWERED}");
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8])));
    assert_eq!(counted.count_total, 1);
}
