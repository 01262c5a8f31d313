//! Callers and their tokens, end to end: issuers by file and by address, rotation, whom a token names, and that
//! nothing in a token brings back what SCIM took away.

pub mod issuer;
pub mod keys;

use serde_json::{Value, json};

use crate::support::{Answer, Asker, Client, Operator, Provisioner, TestServer};
use issuer::{KeyServer, Shelf};
use keys::{HONEST, Key, encode, key_set};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// The issuer that the scene's server believes.
pub const ISSUER: &str = "https://login.example.com";

/// Where the keys of an issuer are.
pub enum Keys<'a> {
    /// In a file, with this text.
    File(String),
    /// At an address.
    At(&'a KeyServer),
}

/// A server that believes one issuer, with two people who may read the orders of account 100.
pub struct Scene {
    pub server: TestServer,
    pub operator: Operator,
    pub scim: Provisioner,
    pub asker: Asker,
    pub jdoe: String,
    scim_token: String,
    folder: tempfile::TempDir,
}

impl Scene {
    pub fn new(keys: &Keys<'_>, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        let (kind, place) = match keys {
            Keys::File(text) => {
                std::fs::write(&file, text).unwrap();
                ("JWKS_FILE", file.display().to_string())
            }
            Keys::At(server) => ("JWKS_URL", server.url()),
        };
        let place_key = format!("CEDARGATE_TOKEN__ISSUERS__0__{kind}");
        let mut environment = vec![
            ("CEDARGATE_TOKEN__ISSUERS__0__ISSUER", ISSUER),
            ("CEDARGATE_TOKEN__ISSUERS__0__AUDIENCES", "cedargate,https://api.example.com"),
            ("CEDARGATE_TOKEN__ISSUERS__0__ALGORITHMS", "RS256,ES256,EdDSA"),
            (place_key.as_str(), place.as_str()),
        ];
        environment.extend(more);
        let server = TestServer::start_with(&folder.path().join("data"), &environment);
        let mut operator = server.doors().operator();
        operator.organization("acme");
        operator.account("acme", "100", &[]);
        let token = operator.connection("acme", "generic");
        let mut scim = server.doors().provisioner(&token);
        let mut create = |name: &str, external: &str| {
            let user = json!({"schemas": [USER, USER_EXTENSION], "userName": name, "externalId": external, "active": true,
                "emails": [{"value": format!("{name}@example.test"), "primary": true}],
                USER_EXTENSION: {"accessMethods": ["api"], "accounts": ["100"]}});
            scim.call("POST", "Users", &user).expect(&[201]).json()["id"].as_str().unwrap().to_owned()
        };
        let jdoe = create("jdoe", "00u-jdoe");
        create("root", "00u-root");
        let asker = server.doors().asker();
        Self { server, operator, scim, asker, jdoe, scim_token: token, folder }
    }

    /// The same data and settings, with these settings as well.
    fn restarted(mut self, more: &[(&str, &str)]) -> Self {
        self.server.kill();
        let file = self.folder.path().join("keys.json").display().to_string();
        let mut environment = vec![
            ("CEDARGATE_TOKEN__ISSUERS__0__ISSUER", ISSUER),
            ("CEDARGATE_TOKEN__ISSUERS__0__AUDIENCES", "cedargate"),
            ("CEDARGATE_TOKEN__ISSUERS__0__ALGORITHMS", "RS256,ES256,EdDSA"),
            ("CEDARGATE_TOKEN__ISSUERS__0__JWKS_FILE", file.as_str()),
        ];
        environment.extend(more);
        let server = TestServer::start_with(&self.folder.path().join("data"), &environment);
        let doors = server.doors();
        let (operator, asker) = (doors.operator(), doors.asker());
        let scim = doors.provisioner(&self.scim_token);
        Self { server, operator, scim, asker, ..self }
    }

    /// Asks as the bearer of a token.
    pub fn ask(&mut self, token: &str) -> Answer {
        self.ask_with(&format!("Bearer {token}"))
    }

    /// Asks with an `Authorization` header.
    pub fn ask_with(&mut self, header: &str) -> Answer {
        let question = json!({"subject": {"authorization": header},
            "request": {"method": "GET", "path": "/api/accounts/100/orders"}});
        self.asker.ask(&question)
    }

    fn patch(&mut self, operations: &Value) {
        let body = json!({"schemas": [PATCH], "Operations": operations});
        let path = format!("Users/{}", self.jdoe);
        self.scim.call("PATCH", &path, &body).expect(&[200, 204]);
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a test of the real binary lives in real time")]
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The claims of an honest token.
pub fn claims(subject: &str) -> Value {
    let now = now();
    json!({"iss": ISSUER, "aud": "cedargate", "sub": subject, "iat": now, "nbf": now, "exp": now + 600})
}

fn honest_keys() -> String {
    key_set(&HONEST.each_ref().map(Key::public))
}

#[test]
fn a_revoked_person_is_nobody_although_the_token_holds() {
    let mut scene = Scene::new(&Keys::File(honest_keys()), &[]);
    let token = HONEST[0].token(&claims("jdoe"));
    // Twice, so that the token is remembered.
    for _ in 0..2 {
        let answer = scene.ask(&token);
        assert_eq!((answer.permit, answer.reason.as_str()), (true, "default-get"));
    }
    scene.patch(&json!([{"op": "replace", "path": "active", "value": false}]));
    let answer = scene.ask(&token);
    assert_eq!((answer.permit, answer.reason.as_str()), (false, "deactivated"));
    scene.patch(&json!([{"op": "replace", "path": "active", "value": true}]));
    assert!(scene.ask(&token).permit);
    let path = format!("Users/{}", scene.jdoe);
    scene.scim.call("DELETE", &path, &Value::Null).expect(&[204]);
    assert_eq!(scene.ask(&token).reason, "deactivated");
}

#[test]
fn a_token_from_before_its_person_was_made_again_is_void() {
    let mut scene = Scene::new(&Keys::File(honest_keys()), &[]);
    let issued = |seconds: Option<i64>| {
        let mut claims = claims("jdoe");
        claims.as_object_mut().unwrap().remove("nbf");
        claims["iat"] = json!(seconds.map(|ago| now() - ago));
        if seconds.is_none() {
            claims.as_object_mut().unwrap().remove("iat");
        }
        HONEST[0].token(&claims)
    };
    let (old, undated) = (issued(Some(60)), issued(None));
    assert!(scene.ask(&old).permit && scene.ask(&undated).permit);
    let path = format!("Users/{}", scene.jdoe);
    scene.scim.call("DELETE", &path, &Value::Null).expect(&[204]);
    assert_eq!(scene.ask(&old).reason, "deactivated");
    let user = json!({"schemas": [USER, USER_EXTENSION], "userName": "jdoe", "externalId": "00u-jdoe", "active": true,
        USER_EXTENSION: {"accessMethods": ["api"], "accounts": ["100"]}});
    let again = scene.scim.call("POST", "Users", &user).expect(&[201]).json();
    assert_eq!(again["id"], scene.jdoe, "the same record");
    for token in [&old, &undated] {
        let answer = scene.ask(token);
        assert_eq!((answer.permit, answer.reason.as_str()), (false, "unauthenticated"));
        assert!(answer.message.contains("provisioned anew"), "{}", answer.message);
    }
    // Within the leeway of 30 seconds that clocks of issuers have.
    assert!(scene.ask(&issued(Some(-20))).permit, "signed in anew");
    // It is kept over a start, and a mere deactivation voids nothing.
    let mut scene = scene.restarted(&[]);
    assert_eq!(scene.ask(&old).reason, "unauthenticated");
    scene.patch(&json!([{"op": "replace", "path": "active", "value": false}]));
    scene.patch(&json!([{"op": "replace", "path": "active", "value": true}]));
    assert!(scene.ask(&issued(Some(-25))).permit);
}

#[test]
fn claims_about_roles_and_groups_bring_nothing_back() {
    let mut scene = Scene::new(&Keys::File(honest_keys()), &[]);
    let accounts = format!("{USER_EXTENSION}:accounts");
    let mut boastful = claims("jdoe");
    for name in ["groups", "roles", "accounts", "scope", "scp", "permissions", "administrationLevel", "entitlements"] {
        boastful[name] = json!(["100", "Account Admin", "admin", "Ordering"]);
    }
    boastful["active"] = json!(true);
    boastful["realm_access"] = json!({"roles": ["Account Admin"]});
    boastful[USER_EXTENSION] = json!({"accounts": ["100"], "administrationLevel": "Account Admin"});
    let (plain, boastful) = (HONEST[1].token(&claims("jdoe")), HONEST[1].token(&boastful));
    assert!(scene.ask(&boastful).permit, "the control: both hold while SCIM grants the account");
    scene.patch(&json!([{"op": "remove", "path": accounts}]));
    let (one, other) = (scene.ask(&plain), scene.ask(&boastful));
    assert_eq!(one, other);
    assert_eq!((other.permit, other.reason.as_str()), (false, "account-not-granted"));
}

#[test]
fn the_issuer_says_what_its_claim_is() {
    let claim = |name: &str, value: &str| {
        let mut claims = claims("nobody");
        claims[name] = json!(value);
        HONEST[2].token(&claims)
    };
    let setting = |name: &'static str, value: &'static str| (name, value);
    const PERSON: &str = "CEDARGATE_TOKEN__ISSUERS__0__PERSON";
    const SUBJECT: &str = "CEDARGATE_TOKEN__ISSUERS__0__SUBJECT";
    let mut by_name = Scene::new(&Keys::File(honest_keys()), &[setting(SUBJECT, "preferred_username")]);
    assert!(by_name.ask(&claim("preferred_username", "JDoe")).permit);
    let id = by_name.jdoe.clone();
    for foreign in [id.as_str(), "00u-jdoe", "jdoe@example.test"] {
        assert_eq!(by_name.ask(&claim("preferred_username", foreign)).reason, "unknown-user", "{foreign}");
    }
    assert_eq!(by_name.ask(&claim("sub", "jdoe")).reason, "unauthenticated", "the claim is missing");

    let mut by_id = Scene::new(&Keys::File(honest_keys()), &[setting(PERSON, "id")]);
    let id = by_id.jdoe.clone();
    assert!(by_id.ask(&claim("sub", &id)).permit);
    for foreign in ["jdoe", "00u-jdoe", "jdoe@example.test"] {
        assert_eq!(by_id.ask(&claim("sub", foreign)).reason, "unknown-user", "{foreign}");
    }
}

/// The externalId belongs to a connection, whose id the server gives: it starts once without and once with the setting.
#[test]
fn an_external_id_names_whom_its_connection_made_and_nobody_else() {
    let first = Scene::new(&Keys::File(honest_keys()), &[]);
    let mut operator = first.server.doors().operator();
    let all = operator.call("GET", "connections", &Value::Null).expect(&[200]).json();
    let connection = all["items"][0]["id"].as_str().unwrap().to_owned();
    // Another organization's provider gives the same externalId to somebody else.
    operator.organization("globex");
    let other = operator.connection("globex", "generic");
    let twin = json!({"schemas": [USER], "userName": "twin", "externalId": "00u-jdoe", "active": true});
    first.server.doors().provisioner(&other).call("POST", "Users", &twin).expect(&[201]);
    let mut scene = first.restarted(&[
        ("CEDARGATE_TOKEN__ISSUERS__0__PERSON", "external_id"),
        ("CEDARGATE_TOKEN__ISSUERS__0__CONNECTION", connection.as_str()),
    ]);
    let token = HONEST[2].token(&claims("00u-jdoe"));
    assert!(scene.ask(&token).permit);
    for foreign in ["jdoe", "00U-JDOE", "00u-jdoe ", "00u-nobody", "jdoe@example.test"] {
        assert_eq!(scene.ask(&HONEST[2].token(&claims(foreign))).reason, "unknown-user", "{foreign}");
    }
    // The provider gives the person another externalId: the old one names nobody from then on.
    scene.patch(&json!([{"op": "replace", "path": "externalId", "value": "00u-new"}]));
    assert_eq!(scene.ask(&token).reason, "unknown-user");
    assert!(scene.ask(&HONEST[2].token(&claims("00u-new"))).permit);
}

#[test]
fn rotation_with_overlap_denies_nobody() {
    let first = Key::elliptic("2026-10");
    let server = KeyServer::start(Shelf::Keys(key_set(&[first.public()])));
    let mut scene = Scene::new(&Keys::At(&server), &[]);
    let old = first.token(&claims("jdoe"));
    let answer = scene.ask(&old);
    assert!(answer.permit, "the very first question waits for the first fetch: {answer:?}");
    // The issuer publishes a second key beside the first and signs with it at once; both kinds of token are about.
    let second = Key::edwards("2026-11");
    server.put(Shelf::Keys(key_set(&[first.public(), second.public()])));
    for round in 0..50 {
        let fresh = second.token(&claims("jdoe"));
        for token in [&fresh, &old] {
            let answer = scene.ask(token);
            assert!(answer.permit, "round {round}: {answer:?}");
        }
    }
    assert_eq!(server.fetches(), 2, "one at the start, one for the new key");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the server under test lives in real time")]
fn a_hundred_thousand_made_up_keys_cause_two_fetches() {
    let key = Key::elliptic("only");
    let server = KeyServer::start(Shelf::Keys(key_set(&[key.public()])));
    let mut scene = Scene::new(&Keys::At(&server), &[]);
    let good = key.token(&claims("jdoe"));
    assert!(scene.ask(&good).permit);
    let (claims, signature) = (encode(claims("jdoe").to_string()), key.sign("x"));
    let mut asked = 0;
    let begun = std::time::Instant::now();
    while asked < 100_000 {
        let questions: Vec<Value> = (asked..asked + 1000)
            .map(|at| {
                let header = encode(json!({"alg": "ES256", "kid": format!("made-up-{at}")}).to_string());
                json!({"subject": {"authorization": format!("Bearer {header}.{claims}.{signature}")},
                    "request": {"method": "GET", "path": "/api/accounts/100/orders"}})
            })
            .collect();
        for answer in scene.asker.batch(&questions) {
            assert_eq!((answer.permit, answer.reason.as_str()), (false, "unauthenticated"));
        }
        // Batches never wait for keys; single questions would, so each thousand has one of those as well.
        let header = encode(json!({"alg": "ES256", "kid": format!("single-{asked}")}).to_string());
        assert!(!scene.ask(&format!("{header}.{claims}.{signature}")).permit);
        asked += 1000;
    }
    assert!(scene.ask(&good).permit);
    let fetches = server.fetches();
    // One at the start and one for unknown names in thirty seconds; a busy machine takes more than the first thirty.
    let may_be = 2 + usize::try_from(begun.elapsed().as_secs() / 30).unwrap();
    assert!(fetches <= may_be, "{fetches} fetches, at most {may_be}");
    crate::support::report(&format!("100,100 made-up key names: {fetches} fetches"));
}

#[test]
fn an_issuer_that_fails_takes_nobody_along() {
    let key = Key::elliptic("only");
    let server = KeyServer::start(Shelf::Broken);
    let mut scene = Scene::new(&Keys::At(&server), &[("CEDARGATE_TOKEN__ISSUERS__0__JWKS_REFRESH", "1s")]);
    let token = key.token(&claims("jdoe"));
    let answer = scene.ask(&token);
    assert_eq!((answer.permit, answer.reason.as_str()), (false, "unauthenticated"));
    assert!(answer.message.contains("not known at present"), "{}", answer.message);
    // Not a reason to send nobody here: other issuers' people go on.
    let ready = scene.operator.get("/readyz?verbose").expect(&[200]);
    assert!(ready.text().contains("500"), "{}", ready.text());
    // Neither a redirect nor another shape brings keys; the forger's server is never asked.
    let forger = KeyServer::start(Shelf::Keys(key_set(&[key.public()])));
    let huge = format!("{}{}", key_set(&[key.public()]), " ".repeat(300 * 1024));
    for (round, wrong) in
        [Shelf::Redirect(forger.url()), Shelf::Keys("{}".into()), Shelf::Keys(huge)].into_iter().enumerate()
    {
        server.put(wrong);
        let seen = server.fetches();
        server.wait_for(seen + 2);
        assert_eq!(scene.ask(&token).reason, "unauthenticated", "round {round}");
    }
    assert_eq!(forger.fetches(), 0);
    server.put(Shelf::Keys(key_set(&[key.public()])));
    let seen = server.fetches();
    // The second fetch begins when the first has been taken in.
    server.wait_for(seen + 2);
    assert!(scene.ask(&token).permit);
    // What was fetched once is believed while the issuer is silent.
    server.put(Shelf::Silent);
    let seen = server.fetches();
    server.wait_for(seen + 1);
    assert!(scene.ask(&token).permit);
}

#[test]
fn settings_that_could_not_hold_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let check = |lines: &str| {
        let issuer = format!(
            "[[token.issuers]]\nissuer = \"https://a\"\naudiences = [\"x\"]\nalgorithms = [\"RS256\"]\n{lines}"
        );
        let file = folder.path().join("cedargate.toml");
        std::fs::write(&file, issuer).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_cedargate"))
            .args(["config", "check", "--config"])
            .arg(&file)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check("jwks_url = \"https://a/keys\"").0, Some(0));
    for (lines, told) in [
        ("jwks_url = \"http://a/keys\"", "forged on the way"),
        ("jwks_url = \"http://127.0.0.1.evil.example/keys\"", "forged on the way"),
        ("jwks_url = \"http://user@localhost/keys\"", "forged on the way"),
        ("jwks_url = \"file:///etc/keys\"", "forged on the way"),
        ("jwks_url = \"https://a/keys\"\nperson = \"email\"", "write one of username, id, external_id"),
        ("jwks_url = \"https://a/keys\"\nperson = \"external_id\"", "set connection"),
        ("jwks_url = \"https://a/keys\"\nconnection = \"c\"", "external_id"),
        ("", "one place"),
    ] {
        let (code, text) = check(lines);
        assert!(code == Some(3) && text.contains(told), "{lines}: {code:?}: {text}");
    }
}

#[test]
fn an_authorization_header_has_one_form() {
    let mut scene = Scene::new(&Keys::File(honest_keys()), &[]);
    let token = HONEST[0].token(&claims("jdoe"));
    for good in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER  {token}")] {
        assert!(scene.ask_with(&good).permit, "{good}");
    }
    for bad in [
        token.clone(),
        format!("Bearer\t{token}"),
        format!("Bearer {token} "),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {token}\n"),
        format!("Digest {token}"),
        format!("DPoP {token}"),
        "Bearer".into(),
        "Bearer ".into(),
        " Bearer x".into(),
    ] {
        let answer = scene.ask_with(&bad);
        assert_eq!((answer.permit, answer.reason.as_str()), (false, "unauthenticated"), "{bad}");
    }
    // The gate's own listener never mistakes the header of the gateway for one of the caller.
    let mut anonymous = Client::new(&scene.server.doors().gate).bearer(&token);
    let reply = anonymous.json("POST", "/v1/authorize", &json!({"action": "signIn"}));
    assert_eq!(reply.status, 400, "{}", reply.text());
}
