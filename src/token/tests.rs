use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::domain::Timestamp;

/// An Ed25519 key made for these tests alone: PKCS#8, and the public half as a JWK has it.
const PRIVATE: [u8; 48] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20, 0xb6, 0x4b, 0x83,
    0x98, 0x41, 0x5c, 0xc2, 0x83, 0x7a, 0x36, 0xda, 0x38, 0x7a, 0xf2, 0x67, 0xc6, 0x8c, 0x88, 0xe1, 0x31, 0x40, 0xa3,
    0x34, 0xfa, 0x33, 0x19, 0x05, 0x00, 0x65, 0x7f, 0x1b, 0x47,
];
const PUBLIC: &str = "4Y5t90H75SsZ7-d89yTu7iQapCECh3AK-RjM9ca4QlE";
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn issuer(keys: KeyPlace) -> IssuerConfig {
    IssuerConfig {
        issuer: "https://login.example.com".into(),
        audiences: vec!["cedargate".into()],
        algorithms: vec!["EdDSA".into()],
        keys,
        claim: "sub".into(),
        person: NamedBy::Username,
        types: vec!["JWT".into(), "application/at+jwt".into()],
        longest_life: Duration::from_secs(3600),
    }
}

fn key_set(key_id: &str) -> Vec<u8> {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": key_id, "use": "sig"});
    json!({"keys": [key]}).to_string().into_bytes()
}

fn verifier() -> Verifier {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, key_set("one")).unwrap();
    let issuers = vec![issuer(KeyPlace::File(path))];
    Verifier::new(&TokenConfig { issuers, ..TokenConfig::default() }, NOW).unwrap()
}

fn claims() -> Value {
    let second = NOW.0 / 1000;
    json!({"iss": "https://login.example.com", "aud": ["x", "cedargate"], "sub": "jdoe", "exp": second + 60})
}

fn header() -> Header {
    Header { kid: Some("one".into()), ..Header::new(Algorithm::EdDSA) }
}

fn token(header: &Header, claims: &Value) -> String {
    format!("Bearer {}", encode(header, claims, &EncodingKey::from_ed_der(&PRIVATE)).unwrap())
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn jdoe() -> Result<Identity, CredentialFault> {
    Ok(Identity { by: NamedBy::Username, name: "jdoe".into(), issued: Issued::Unsaid })
}

fn named(verifier: &Verifier, header: &str, now: Timestamp) -> Result<Identity, CredentialFault> {
    verifier.verify(header, now).map(|proof| proof.identity().clone())
}

#[test]
fn a_good_token_names_its_person() {
    let verifier = verifier();
    for claims in [claims(), with("aud", json!("cedargate"))] {
        // The second time from memory.
        assert_eq!(named(&verifier, &token(&header(), &claims), NOW), jdoe());
        assert_eq!(named(&verifier, &token(&header(), &claims), NOW), jdoe());
    }
    for kind in [None, Some("at+jwt"), Some("AT+JWT"), Some("application/at+jwt"), Some("jwt")] {
        let header = Header { typ: kind.map(str::to_owned), ..header() };
        assert_eq!(named(&verifier, &token(&header, &claims()), NOW), jdoe(), "{kind:?}");
    }
    let logout = Header { typ: Some("logout+jwt".into()), ..header() };
    assert_eq!(named(&verifier, &token(&logout, &claims()), NOW), Err(CredentialFault::WrongType));
}

#[test]
fn time_is_the_callers_with_thirty_seconds_of_leeway() {
    let verifier = verifier();
    let second = NOW.0 / 1000;
    let at = |claims: &Value, seconds: i64| {
        named(&verifier, &token(&header(), claims), Timestamp(NOW.0 + seconds * 1000)).map(|_| ())
    };
    let outside = Err(CredentialFault::OutsideItsTime);
    assert_eq!((at(&claims(), 89), at(&claims(), 90)), (Ok(()), outside.clone()));
    for claim in ["nbf", "iat"] {
        assert_eq!(at(&with(claim, json!(second + 31)), 0), outside, "{claim}");
        assert_eq!(at(&with(claim, json!(second + 31)), 1), Ok(()), "{claim}");
    }
    assert_eq!(at(&with("exp", json!(second + 3630)), 0), Ok(()));
    assert_eq!(at(&with("exp", json!(second + 3631)), 0), Err(CredentialFault::TooLongLived));
    let mut old = with("iat", json!(second - 3600));
    old["exp"] = json!(second + 60);
    assert_eq!(at(&old, 0), Err(CredentialFault::TooLongLived));
}

#[test]
fn claims_of_a_wrong_type_are_wrong_and_never_absent() {
    let verifier = verifier();
    let verify = |claims: &Value| named(&verifier, &token(&header(), claims), NOW);
    let claim = |name: &str| Err(CredentialFault::Claim(name.into()));
    assert_eq!(verify(&with("iss", json!("https://evil.example"))), Err(CredentialFault::UnknownIssuer));
    assert_eq!(verify(&with("aud", json!("other"))), Err(CredentialFault::WrongAudience));
    for wrong in [json!(7), json!({"cedargate": 1}), json!(["cedargate", 7]), Value::Null] {
        assert_eq!(verify(&with("aud", wrong)), claim("aud"));
    }
    for (name, wrong) in
        [("exp", json!("1900000000")), ("exp", Value::Null), ("nbf", json!("soon")), ("iat", json!([]))]
    {
        assert_eq!(verify(&with(name, wrong)), claim(name));
    }
    for wrong in [json!(""), json!(7), json!(["jdoe"])] {
        assert_eq!(verify(&with("sub", wrong)), claim("sub"));
    }
    assert_eq!(verify(&with("sub", json!("jdoe"))), jdoe());
}

#[test]
fn claims_verified_elsewhere_are_read_as_strictly() {
    let verifier = verifier();
    assert_eq!(verifier.identify(&claims().to_string(), NOW), jdoe());
    assert_eq!(verifier.identify(&with("aud", json!("x")).to_string(), NOW), Err(CredentialFault::WrongAudience));
    let twice = claims().to_string().replacen('{', r#"{"sub":"root","#, 1);
    assert_eq!(verifier.identify(&twice, NOW), Err(CredentialFault::Unreadable));
}

/// Hands out whatever stands in it.
struct Shelf(std::sync::Mutex<Result<Vec<u8>, String>>, tokio::sync::Notify);

impl KeySource for Shelf {
    fn fetch<'a>(&'a self, _: &'a str) -> Fetching<'a> {
        Box::pin(async move {
            self.1.notify_one();
            self.0.lock().unwrap().clone()
        })
    }
}

/// Keys by address, a shelf that they come from, and a clock turned by hand.
fn kept(at_first: Result<Vec<u8>, String>) -> (Arc<Verifier>, Arc<Shelf>, Arc<crate::clock::HandClock>) {
    let place = KeyPlace::Url {
        url: "https://login.example.com/keys".into(),
        authorities: None,
        refresh: Duration::from_secs(3600),
        longest_stale: Duration::from_secs(600),
    };
    let config = TokenConfig { issuers: vec![issuer(place)], ..TokenConfig::default() };
    let verifier = Arc::new(Verifier::new(&config, NOW).unwrap());
    let shelf = Arc::new(Shelf(std::sync::Mutex::new(at_first), tokio::sync::Notify::new()));
    let clock = Arc::new(crate::clock::HandClock::new(NOW));
    (verifier, shelf, clock)
}

#[tokio::test]
async fn a_key_that_nobody_knows_yet_is_fetched_once_in_thirty_seconds() {
    let (verifier, shelf, clock) = kept(Ok(key_set("one")));
    let (one, two) = (token(&header(), &claims()), token(&Header { kid: Some("two".into()), ..header() }, &claims()));
    assert_eq!(named(&verifier, &one, NOW), Err(CredentialFault::NoKeys));
    let first = verifier.newer_keys(&one, NOW).expect("the first fetch is on its way");
    let keeping = tokio::spawn(Arc::clone(&verifier).keep_keys(shelf.clone(), clock));
    first.await;
    assert_eq!(named(&verifier, &one, NOW), jdoe());
    assert!(verifier.newer_keys(&one, NOW).is_none(), "the key is there");
    // The issuer rotates; whoever shows the new key first waits for one fetch.
    assert_eq!(named(&verifier, &two, NOW), Err(CredentialFault::WrongKey));
    *shelf.0.lock().unwrap() = Ok(key_set("two"));
    verifier.newer_keys(&two, NOW).expect("a fetch").await;
    assert_eq!(named(&verifier, &two, NOW), jdoe());
    assert_eq!(named(&verifier, &one, NOW), Err(CredentialFault::WrongKey), "its key is gone, cached or not");
    assert!(verifier.newer_keys(&one, Timestamp(NOW.0 + 29_999)).is_none(), "not again so soon");
    assert!(verifier.newer_keys(&one, Timestamp(NOW.0 + 30_000)).is_some());
    keeping.abort();
}

#[tokio::test]
async fn only_so_many_questions_wait_for_an_issuer() {
    let (verifier, shelf, clock) = kept(Ok(key_set("one")));
    let made_up = |at: usize| token(&Header { kid: Some(format!("made-up-{at}")), ..header() }, &claims());
    // The issuer is slow: its first answer is still on its way.
    let waiting: Vec<_> = (0..64).map(|at| verifier.newer_keys(&made_up(at), NOW).expect("a turn")).collect();
    assert!(verifier.newer_keys(&made_up(64), NOW).is_none(), "answered at once");
    let keeping = tokio::spawn(Arc::clone(&verifier).keep_keys(shelf, clock));
    for one in waiting {
        one.await;
    }
    assert_eq!(named(&verifier, &token(&header(), &claims()), NOW), jdoe());
    assert!(verifier.newer_keys(&made_up(65), NOW).is_some(), "turns are given back");
    keeping.abort();
}

#[tokio::test]
async fn keys_that_cannot_be_renewed_are_believed_for_a_while() {
    let (verifier, shelf, clock) = kept(Ok(key_set("one")));
    let mut long = claims();
    long["exp"] = json!(NOW.0 / 1000 + 3000);
    let (good, other) = (token(&header(), &long), token(&Header { kid: Some("two".into()), ..header() }, &long));
    let first = verifier.newer_keys(&good, NOW).unwrap();
    let keeping = tokio::spawn(Arc::clone(&verifier).keep_keys(shelf.clone(), clock));
    first.await;
    *shelf.0.lock().unwrap() = Err("down".into());
    verifier.newer_keys(&other, NOW).unwrap().await;
    assert_eq!(verifier.key_faults(), ["https://login.example.com: down"]);
    for (seconds, expected) in [(0, jdoe()), (600, jdoe()), (601, Err(CredentialFault::NoKeys))] {
        assert_eq!(named(&verifier, &good, Timestamp(NOW.0 + seconds * 1000)), expected, "after {seconds} s");
    }
    keeping.abort();
}
