//! Answers that are kept for tokens, for gateways and for batches: what is given again is what would be said anew.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cedargate::authz::{Authz, AuthzConfig};
use cedargate::clock::{Clock as _, HandClock, SeededRandom, Sources};
use cedargate::directory::Directory;
use cedargate::domain::{
    AccessMethods, AccountImage, AdministrationLevel, Change, Image, OrganizationImage, Revision, Timestamp, UserImage,
};
use cedargate::gate::Gate;
use cedargate::gate::credentials::GateConfig;
use cedargate::http::header::{HeaderName, HeaderValue};
use cedargate::http::{Handling, Method, Request, Response};
use cedargate::policy::{Bundle, Live, Source};
use cedargate::telemetry::Metrics;
use cedargate::token::{Fetching, IssuerConfig, KeyPlace, KeySource, NamedBy, TokenConfig, Verifier};
use serde_json::{Value, json};

use crate::tokens::keys::{Key, key_set};

const ISSUER: &str = "https://login.example.com";
const SECOND: i64 = 1_000;
const BEGIN: Timestamp = Timestamp(1_800_000_000 * SECOND);

/// The issuer's door; closed where there is nothing.
struct Shelf(Mutex<Option<String>>);

impl KeySource for Shelf {
    fn fetch<'a>(&'a self, _issuer: &'a str) -> Fetching<'a> {
        let keys = self.0.lock().unwrap().clone();
        Box::pin(async move { keys.map(String::into_bytes).ok_or_else(|| "closed".into()) })
    }
}

fn issuer() -> IssuerConfig {
    IssuerConfig {
        issuer: ISSUER.into(),
        audiences: vec!["cedargate".into()],
        algorithms: vec!["EdDSA".into()],
        keys: KeyPlace::Url {
            url: format!("{ISSUER}/keys"),
            authorities: None,
            refresh: Duration::from_secs(3600),
            longest_stale: Duration::from_secs(900),
        },
        claim: "sub".into(),
        person: NamedBy::Username,
        types: vec!["at+jwt".into()],
        longest_life: Duration::from_secs(3600),
    }
}

struct World {
    clock: Arc<HandClock>,
    directory: Arc<Directory>,
    verifier: Arc<Verifier>,
    metrics: Arc<Metrics>,
    authz: Arc<Authz>,
    shelf: Arc<Shelf>,
    revision: u64,
    key: Key,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(HandClock::new(BEGIN));
        let sources = Sources { clock: clock.clone(), random: Arc::new(SeededRandom::new(1)) };
        let (directory, metrics) = (Arc::new(Directory::empty()), Arc::new(Metrics::new(&[])));
        let live = Arc::new(Live::new(Arc::new(Bundle::load(&Source::Shipped).unwrap())));
        let tokens = TokenConfig { issuers: vec![issuer()], ..TokenConfig::default() };
        let verifier = Arc::new(Verifier::new(&tokens, BEGIN).unwrap());
        let key = Key::edwards("one");
        let shelf = Arc::new(Shelf(Mutex::new(Some(key_set(&[key.public()])))));
        let (people, proofs, counted) = (Arc::clone(&directory), Arc::clone(&verifier), Arc::clone(&metrics));
        let config = AuthzConfig { self_check_every: 5, ..AuthzConfig::default() };
        let authz = Arc::new(Authz::new(&config, people, live, proofs, &sources, counted));
        let mut world = Self { clock, directory, verifier, metrics, authz, shelf, revision: 0, key };
        world.change(1, Image::Organization(OrganizationImage { id: "acme".into() }));
        let account = AccountImage { id: "100".into(), organization: 1, products: vec!["UC".into()] };
        world.change(2, Image::Account(account));
        world.person(true, None);
        world
    }

    fn change(&mut self, number: u32, image: Image) {
        self.revision += 1;
        self.directory.apply(Revision { epoch: 1, number: self.revision }, &[Change { number, image }]);
    }

    fn person(&mut self, active: bool, linked_again: Option<Timestamp>) {
        let image = UserImage {
            id: "019aa8e1-0000-7000-8000-000000000003".into(),
            organization: 1,
            username: "jdoe".into(),
            login: None,
            external_ids: std::collections::BTreeMap::new(),
            linked_again,
            active,
            locked: false,
            level: AdministrationLevel::BasicUser,
            methods: AccessMethods { dashboard: true, api: true },
            roles: vec!["Ordering".into()],
            assigned: true,
            accounts: vec![2],
            password_changed_at: None,
        };
        self.change(3, Image::User(image));
    }

    fn asker(&self) -> Asker {
        Asker(Arc::new(Gate::new(Arc::clone(&self.authz), GateConfig::default())).routes().build().unwrap())
    }

    /// A token of twenty minutes from the beginning on.
    fn token(&self) -> String {
        let second = BEGIN.0 / SECOND;
        let claims = json!({"iss": ISSUER, "aud": "cedargate", "sub": "jdoe", "iat": second, "exp": second + 1_200});
        format!("Bearer {}", self.key.token(&claims))
    }

    /// Answers that were given again.
    fn given_again(&self) -> usize {
        let text = self.metrics.render().unwrap();
        let lines = text.lines().filter(|line| line.contains("cache=\"answer\""));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
    }

    /// Puts these keys in the place of the earlier ones.
    async fn publish(&self, keys: &[Value], unknown: &str) {
        *self.shelf.0.lock().unwrap() = Some(key_set(keys));
        self.verifier.newer_keys(unknown, self.clock.now()).expect("a fetch").await;
    }
}

struct Asker(cedargate::http::RouteTable);

impl Asker {
    async fn send(&self, request: Request) -> Response {
        match self.0.find(&request.method, &request.path).ok().unwrap().handling {
            Handling::Now(handler) => handler(request),
            Handling::Here(handler) => handler(request).response().await,
            Handling::Later(handler) => handler(request).await,
            Handling::Stream(_) => panic!("a question is read whole"),
        }
    }

    /// The answer without its id.
    async fn ask(&self, path: &str, body: &str) -> (u16, Value) {
        let mut request = Request::new(Method::POST, path);
        request.body = body.to_owned().into();
        let response = self.send(request).await;
        let status = response.status().as_u16();
        let mut answer: Value = serde_json::from_slice(response.into_body().whole().unwrap()).unwrap();
        without_id(&mut answer);
        for one in answer.get_mut("decisions").and_then(Value::as_array_mut).into_iter().flatten() {
            without_id(one);
        }
        (status, answer)
    }

    /// By a gateway's own dialect: status, reason and person.
    async fn forward(&self, header: &str) -> (u16, Vec<Option<String>>) {
        let mut request = Request::new(Method::GET, "/forward-auth");
        for (name, value) in [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-host", "dashboard.bandwidth.com"),
            ("x-forwarded-uri", "/api/accounts/100/orders"),
            ("authorization", header),
        ] {
            request.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let response = self.send(request).await;
        let told = ["cedargate-decision", "cedargate-reason", "cedargate-user"];
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), told.map(header).into())
    }
}

#[test]
fn a_signature_by_each_algorithm_holds_and_one_by_another_does_not() {
    let rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(|name| name.parse().unwrap());
    let keys = rsa.map(|algorithm| Key::rsa(&format!("{algorithm:?}")).with(algorithm)).into_iter();
    let keys: Vec<Key> =
        keys.chain([Key::elliptic("ES256"), Key::elliptic_384("ES384"), Key::edwards("EdDSA")]).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, key_set(&keys.iter().map(Key::public).collect::<Vec<_>>())).unwrap();
    let algorithms = cedargate::token::ALGORITHMS.map(str::to_owned).into();
    let issuer = IssuerConfig { algorithms, keys: KeyPlace::File(file), ..issuer() };
    let tokens = TokenConfig { issuers: vec![issuer], ..TokenConfig::default() };
    let verifier = Verifier::new(&tokens, BEGIN).unwrap();
    let second = BEGIN.0 / SECOND;
    let claims = json!({"iss": ISSUER, "aud": "cedargate", "sub": "jdoe", "exp": second + 60});
    for key in &keys {
        let token = key.token(&claims);
        let proof = verifier.verify(&format!("Bearer {token}"), BEGIN).unwrap();
        assert_eq!(proof.identity().name, "jdoe", "{}", key.id);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        for other in keys.iter().filter(|other| other.id != key.id) {
            let forged = format!("Bearer {signed}.{}", other.sign(signed));
            assert!(verifier.verify(&forged, BEGIN).is_err(), "{} by {}", key.id, other.id);
        }
        let changed = signature.replacen(signature.chars().nth(9).unwrap(), "_", 1);
        let forged = format!("Bearer {signed}.{changed}");
        assert!(changed == signature || verifier.verify(&forged, BEGIN).is_err(), "{}", key.id);
    }
}

fn without_id(answer: &mut Value) {
    answer.as_object_mut().and_then(|answer| answer.remove("id"));
}

#[tokio::test]
async fn an_answer_to_a_token_lasts_no_longer_than_token_key_and_person() {
    let mut world = World::new();
    let gate = world.asker();
    let token = world.token();
    let unknown = format!("Bearer {}", Key::edwards("two").token(&json!({"iss": ISSUER})));
    let first = world.verifier.newer_keys(&unknown, BEGIN).expect("the first fetch");
    let (source, clock) = (world.shelf.clone(), world.clock.clone());
    let keeping = tokio::spawn(Arc::clone(&world.verifier).keep_keys(source, clock));
    first.await;

    let body = json!({"subject": {"authorization": token},
        "request": {"method": "GET", "path": "/api/accounts/100/orders"}});
    let body = body.to_string();
    let mut reasons = Vec::new();
    for step in 0..14 {
        match step {
            1 => world.publish(&[Key::edwards("one").public()], &unknown).await,
            2 => {
                world.clock.advance(31 * SECOND);
                world.publish(&[world.key.public()], &unknown).await;
            }
            // Keys that cannot be renewed are believed for fifteen minutes.
            3 => world.clock.advance(900 * SECOND),
            4 => {
                *world.shelf.0.lock().unwrap() = None;
                world.clock.advance(SECOND);
            }
            8 => world.clock.advance(SECOND),
            5 | 9 => world.clock.advance(-SECOND),
            6 => {
                world.clock.advance(31 * SECOND);
                world.publish(&[world.key.public()], &unknown).await;
            }
            // To the last second of the token and its leeway.
            7 => world.clock.advance((1_229 - 962) * SECOND),
            10 => world.person(false, None),
            11 | 13 => world.person(true, None),
            12 => world.person(true, Some(Timestamp(BEGIN.0 + 60 * SECOND))),
            _ => {}
        }
        let fresh = world.asker().ask("/v1/authorize", &body).await;
        let fresh_forward = world.asker().forward(&token).await;
        for time in 0..4 {
            assert_eq!(gate.ask("/v1/authorize", &body).await, fresh, "step {step}, time {time}");
            assert_eq!(gate.forward(&token).await, fresh_forward, "step {step}, time {time}");
        }
        reasons.push(fresh.1["reason"]["code"].as_str().unwrap().to_owned());
    }
    keeping.abort();
    let (yes, no, gone) = ("role", "unauthenticated", "deactivated");
    assert_eq!(reasons, [yes, no, yes, yes, no, yes, yes, yes, no, yes, gone, yes, no, yes]);
    assert!(world.given_again() >= 30, "{} answers were given again", world.given_again());
    assert_eq!(world.authz.self_check(), Ok(()));
}

/// A batch of questions alone is gone through in another way than one that says more: both say the same.
#[tokio::test]
async fn a_batch_says_the_same_however_it_is_read() {
    let world = World::new();
    let gate = world.asker();
    let questions = [
        r#"{"subject":{"user":"jdoe"},"request":{"method":"GET","path":"/api/accounts/100/orders"}}"#,
        r#"{ "subject" : {"user":"jdoe"} , "request":{"method":"GET","path":"/api/users/jdoe"} }"#,
        r#"{"request":{"method":"GET","path":"/api/accounts/100/orders"},"subject":{"user":"jdoe"},"context":{"a":[{"b":"},{"},{"c":"}]"}]}}"#,
        r#"{"subject":{"user":"jdoe"},"action":"signIn"}"#,
        r#"{"subject":{"user":"j\u0064oe"},"action":"signIn","channel":"dashboard"}"#,
        r#"{"subject":{"user":"nobody{}"},"action":"signIn"}"#,
        r#"{"action":"signIn"}"#,
        r#"{"subject":{"user":"jdoe"},"action":"signIn","more":1}"#,
        r#"{"subject":{"user":"jdoe"},"action":"signIn","minRevision":"1-900"}"#,
        "7",
        r#""{""#,
        "[{}]",
        "null",
        "{}",
    ];
    // Alone and twice, so that answers are kept; in pairs; then what is no list of questions.
    for question in questions.iter().chain(&questions) {
        gate.ask("/v1/authorize", question).await;
    }
    let mut lists: Vec<String> = vec![String::new(), "  ".into(), questions.join(","), questions.join(" ,\n\t ")];
    for one in questions {
        lists.extend(questions.iter().take(4).map(|other| format!("{one},{other}")));
    }
    let mut bodies: Vec<String> = lists.iter().map(|list| format!("\"questions\":[{list}]}}")).collect();
    bodies.extend(lists.iter().map(|list| format!(" \"questions\" :\n[ {list} ] }} ")));
    let good = questions[0];
    bodies.extend(
        [
            "[{good},]}",
            "[,{good}]}",
            "[{good}]",
            "[{good}",
            "[{good}}",
            "[{good}{good}]}",
            "[{good};]}",
            "[{good}]}}",
            "[{good}],\"questions\":[]}",
            "[{good}],\"channel\":\"dashboard\"}",
            "[{good}],\"more\":1}",
            "[{good}]} x",
            "{}}",
            "",
        ]
        .map(|text| format!("\"questions\":{}", text.replace("{good}", good))),
    );
    bodies.push(format!("\"questions\":[{}]}}", [good; 1001].join(",")));
    bodies.push(format!("\"questions\":[{}]}}", [good; 1000].join(",")));
    let mut answered = 0;
    for body in bodies {
        // Twice: the second time more is kept.
        for _ in 0..2 {
            let (status, alone) = gate.ask("/v1/authorize/batch", &format!("{{{body}")).await;
            let (other_status, with_more) =
                gate.ask("/v1/authorize/batch", &format!("{{\"subject\":null,{body}")).await;
            assert_eq!(status, other_status, "{body}: {alone} {with_more}");
            if status == 200 {
                answered += 1;
                assert_eq!(alone, with_more, "{body}");
            }
        }
    }
    assert!(answered > 200, "{answered} batches were answered");
    assert!(world.given_again() > 150, "{} answers were given again", world.given_again());
    assert_eq!(world.authz.self_check(), Ok(()));
}
