//! What stands around a gateway in these tests: our server, people, their tokens, the recorder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::upstream::Upstream;
use crate::support::TestServer;

/// The gateway's token: the one that stands in the files of `docs/gateways`.
pub const GATE_TOKEN: &str = "change-me-0123456789abcdef0123456789abcdef";

/// Ed25519 (RFC 8410), for these tests alone.
const PRIVATE: [u8; 48] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20, 0x9d, 0x61, 0xb1,
    0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32,
    0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// Requests that may be worked on at once: few, so that a test can take all of them.
pub const REQUESTS: usize = 16;

/// Server, people, recorder.
pub struct World {
    /// Our server.
    pub server: TestServer,
    /// The service.
    pub upstream: Upstream,
    /// Where files of this test live.
    pub folder: tempfile::TempDir,
    authorization: String,
}

/// What the gate decided, as its log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Method, path without query, host in lower case.
    pub request: (String, String, String),
    /// Permit or deny.
    pub permit: bool,
}

impl World {
    /// The organization acme with the accounts 100 and 200; `mchen` holds Ordering on 100 and nothing else.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("gate.token"), GATE_TOKEN).unwrap();
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": "one", "alg": "EdDSA", "use": "sig"}]});
        std::fs::write(at("keys.json"), keys.to_string()).unwrap();
        let (token_file, jwks_file, requests) = (at("gate.token"), at("keys.json"), REQUESTS.to_string());
        let server = TestServer::start_with(
            Path::new(&at("data")),
            &[
                ("CEDARGATE_GATE__CREDENTIALS__0__NAME", "edge"),
                ("CEDARGATE_GATE__CREDENTIALS__0__TOKEN_FILE", &token_file),
                ("CEDARGATE_GATE__LIMITS__REQUESTS", &requests),
                ("CEDARGATE_TOKEN__ISSUERS__0__ISSUER", "https://login.example.com"),
                ("CEDARGATE_TOKEN__ISSUERS__0__AUDIENCES", "cedargate"),
                ("CEDARGATE_TOKEN__ISSUERS__0__ALGORITHMS", "EdDSA"),
                ("CEDARGATE_TOKEN__ISSUERS__0__JWKS_FILE", &jwks_file),
                ("CEDARGATE_LOG__FILTER", "warn,cedargate::gate=debug"),
            ],
        );
        let mut operator = server.doors().operator();
        operator.organization("acme");
        operator.account("acme", "100", &[]);
        operator.account("acme", "200", &[]);
        let token = operator.connection("acme", "generic");
        let mut scim = server.doors().provisioner(&token);
        let person = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "mchen", "active": true,
            "roles": [{"value": "Ordering"}],
            "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User": {"accessMethods": ["api"], "accounts": ["100"]},
        });
        scim.call("POST", "Users", &person).expect(&[201]);
        let authorization = bearer("mchen");
        Self { server, upstream: Upstream::start(), folder, authorization }
    }

    /// The caller's `Authorization`.
    pub fn authorization(&self) -> &str {
        &self.authorization
    }

    /// Every decision that the log tells so far, by the gateway's request id.
    pub fn judged(&self) -> BTreeMap<String, Vec<Judged>> {
        let text = std::fs::read_to_string(self.server.data().with_extension("log")).unwrap();
        let mut judged: BTreeMap<String, Vec<Judged>> = BTreeMap::new();
        for line in text.lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            if text("message") == "decided" {
                let request = (text("method"), text("path"), text("host").to_ascii_lowercase());
                let one = Judged { request, permit: text("decision") == "permit" };
                judged.entry(text("request_id")).or_default().push(one);
            }
        }
        judged
    }

    /// Sends our server a signal by name, as `kill` writes it.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.process().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Stops our server in its tracks: each of its threads stands still when this returns. The signal alone does not
    /// wait for threads that run on other cores, and one of them may still answer.
    pub fn stop(&self) {
        self.signal("-STOP");
        let threads = format!("/proc/{}/task", self.process());
        let stands = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
        let running = || {
            let mut stats = std::fs::read_dir(&threads).unwrap().map(|thread| thread.unwrap().path().join("stat"));
            stats.any(|file| std::fs::read_to_string(file).is_ok_and(|stat| !stands(stat)))
        };
        while running() {
            std::thread::yield_now();
        }
    }

    fn process(&self) -> u64 {
        let addresses = std::fs::read_to_string(self.server.data().join("addresses.json")).unwrap();
        let addresses: Value = serde_json::from_str(&addresses).unwrap();
        addresses["pid"].as_u64().unwrap()
    }

    /// A file of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A token of the configured issuer that names a person.
#[expect(clippy::disallowed_methods, reason = "the server under test lives in real time")]
pub fn bearer(user: &str) -> String {
    let expires = jiff::Timestamp::now().as_second() + 3600;
    let claims = json!({"iss": "https://login.example.com", "aud": "cedargate", "sub": user, "exp": expires});
    let header = Header { kid: Some("one".into()), ..Header::new(Algorithm::EdDSA) };
    format!("Bearer {}", encode(&header, &claims, &EncodingKey::from_ed_der(&PRIVATE)).unwrap())
}
