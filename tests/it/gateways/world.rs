//! What stands around a gateway in these tests: our server, people, their tokens, the recorder.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};

use super::program::Kind;
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

/// The name in the certificate of the documented Envoy.
const ENVOY: &str = "spiffe://example.com/envoy";
/// The name in our own.
const SERVER: &str = "cedargate.example.com";
/// An issuer that never answers.
const SILENT: &str = "https://silent.example.com";

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
    authority: Issuer<'static, KeyPair>,
    _silent: TcpListener,
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
    /// The organization acme with the accounts 100 and 200; `mchen` holds Ordering on 100 and nothing else. The gate
    /// believes this gateway by what its documented file shows.
    pub fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("gate.token"), GATE_TOKEN).unwrap();
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": "one", "alg": "EdDSA", "use": "sig"}]});
        std::fs::write(at("keys.json"), keys.to_string()).unwrap();
        std::fs::copy(at("keys.json"), at("login-keys.json")).unwrap();
        let authority = authority(folder.path());
        issue(folder.path(), &authority, "gate", SanType::DnsName(SERVER.try_into().unwrap()));
        issue(folder.path(), &authority, "envoy", SanType::URI(ENVOY.try_into().unwrap()));
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let nowhere = format!("http://{}/keys", silent.local_addr().unwrap());
        let requests = REQUESTS.to_string();
        let credential: [(&str, String); 5] = if kind == Kind::EnvoyJwt {
            [
                ("GATE__TLS__CERTIFICATE", at("gate.pem")),
                ("GATE__TLS__KEY", at("gate.key")),
                ("GATE__TLS__CLIENT_AUTHORITIES", at("authority.pem")),
                ("GATE__CREDENTIALS__0__CERTIFICATE", ENVOY.to_owned()),
                ("GATE__CREDENTIALS__0__CALLER", "jwt-metadata".to_owned()),
            ]
        } else {
            // The silent issuer is somebody to wait for: see `contract`.
            [
                ("GATE__CREDENTIALS__0__TOKEN_FILE", at("gate.token")),
                ("TOKEN__ISSUERS__1__ISSUER", SILENT.to_owned()),
                ("TOKEN__ISSUERS__1__AUDIENCES", "cedargate".to_owned()),
                ("TOKEN__ISSUERS__1__ALGORITHMS", "EdDSA".to_owned()),
                ("TOKEN__ISSUERS__1__JWKS_URL", nowhere),
            ]
        };
        let usual = [
            ("GATE__CREDENTIALS__0__NAME", "edge".to_owned()),
            ("GATE__LIMITS__REQUESTS", requests),
            ("TOKEN__ISSUERS__0__ISSUER", "https://login.example.com".to_owned()),
            ("TOKEN__ISSUERS__0__AUDIENCES", "cedargate".to_owned()),
            ("TOKEN__ISSUERS__0__ALGORITHMS", "EdDSA".to_owned()),
            ("TOKEN__ISSUERS__0__JWKS_FILE", at("keys.json")),
            ("LOG__FILTER", "warn,cedargate::gate=debug".to_owned()),
        ];
        let named = usual.into_iter().chain(credential).map(|(name, value)| (format!("CEDARGATE_{name}"), value));
        let settings: Vec<(String, String)> = named.collect();
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        let server = TestServer::start_with(Path::new(&at("data")), &settings);
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
        Self { server, upstream: Upstream::start(), folder, authorization, authority, _silent: silent }
    }

    /// Gives Envoy another certificate: of the same authority under this name, or of one that nobody knows.
    pub fn envoy_becomes(&self, name: Option<&str>) {
        let stranger = name.is_none().then(|| Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap()));
        let authority = stranger.as_ref().unwrap_or(&self.authority);
        let name = SanType::URI(name.unwrap_or(ENVOY).try_into().unwrap());
        issue(self.folder.path(), authority, "envoy", name);
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

/// An authority whose certificate is `authority.pem`.
fn authority(folder: &Path) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Another name than those whom it signs for have by default: else each would look as if it had signed itself.
    params.distinguished_name.push(DnType::CommonName, "authority");
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("authority.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(params, key)
}

fn issue(folder: &Path, authority: &Issuer<'static, KeyPair>, file: &str, name: SanType) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![name];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().pem();
    std::fs::write(folder.join(format!("{file}.pem")), certificate).unwrap();
    std::fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
}

/// A token of the configured issuer that names a person.
pub fn bearer(user: &str) -> String {
    signed("https://login.example.com", user)
}

/// A token whose keys are on their way for ever: whoever shows it keeps the gate waiting for a while.
pub fn unsettled() -> String {
    signed(SILENT, "mchen")
}

#[expect(clippy::disallowed_methods, reason = "the server under test lives in real time")]
fn signed(issuer: &str, user: &str) -> String {
    let expires = jiff::Timestamp::now().as_second() + 3600;
    let claims = json!({"iss": issuer, "aud": "cedargate", "sub": user, "exp": expires});
    let header = Header { kid: Some("one".into()), ..Header::new(Algorithm::EdDSA) };
    format!("Bearer {}", encode(&header, &claims, &EncodingKey::from_ed_der(&PRIVATE)).unwrap())
}
