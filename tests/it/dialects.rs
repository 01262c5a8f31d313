//! One question in every dialect. A dialect is one entry of [`ALL`]: how it says a question, and where its answer
//! tells verdict and reason. What a dialect has no words for is left out by name, never silently.

mod authzen;
mod envoy_grpc;
mod headers;
mod native;
mod opa;

use std::path::Path;

use serde_json::Value;

use crate::support::{Client, Doors, Reply};

/// A question, before any dialect.
#[derive(Clone, Debug)]
pub struct Posed {
    /// Who asks.
    pub who: Who,
    /// What is asked.
    pub what: What,
    /// Through the dashboard instead of the API.
    pub dashboard: bool,
    /// The question's context; empty where it has none.
    pub context: serde_json::Map<String, Value>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Who {
    /// A person by username or login.
    Name(String),
    /// Whoever this `Authorization` header proves.
    Authorization(String),
    /// An entity: `type`, `id` and `properties`.
    Entity(Value),
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum What {
    /// A request of a client.
    Request {
        /// Its method.
        method: String,
        /// Path and query as sent.
        path: String,
        /// The host, where it matters.
        host: Option<String>,
    },
    /// An action by its name.
    Action {
        /// The name.
        name: String,
        /// Its properties.
        properties: Value,
        /// An entity: `type`, `id` and `properties`.
        resource: Option<Value>,
    },
}

/// An answer, as far as a dialect tells it.
#[derive(Clone, Debug)]
pub struct Told {
    /// The verdict.
    pub permit: bool,
    /// The reason's code.
    pub reason: String,
    /// Its sentence and the policies, where the dialect tells them.
    pub grounds: Option<(String, Vec<String>)>,
}

/// An answer, or why there is no way to ask.
pub type Outcome = Result<Told, &'static str>;

/// The header in which the gateways of these tests name the person.
const USER: &str = "x-cases-user";
/// What a gateway for API calls shows, and what one for the dashboard does.
const TOKENS: [&str; 2] = ["a-token-of-the-gateway-for-the-api", "a-token-of-the-gateway-for-the-dashboard"];

/// Where questions go: the gate as gateways of the API and of the dashboard see it.
pub struct Session {
    address: String,
    gates: [Client; 2],
}

impl Session {
    /// The settings of a server that tells the two gateways apart, to be written into its data folder before it starts.
    /// Only the native dialect says the channel itself.
    pub fn settings(folder: &Path) {
        let mut text = String::new();
        for (channel, token) in ["api", "dashboard"].into_iter().zip(TOKENS) {
            std::fs::write(folder.join(channel), token).unwrap();
            text.push_str(&format!(
                "[[gate.credentials]]\nname = {channel:?}\ntoken_file = {channel:?}\nchannel = {channel:?}\n\
                 caller = [\"consumer\", \"header:{USER}\", \"authorization\"]\n"
            ));
        }
        std::fs::write(folder.join("cedargate.toml"), text).unwrap();
    }

    /// To a server with these settings.
    pub fn new(doors: &Doors) -> Self {
        let gates = TOKENS.map(|token| doors.anonymous("gate").header("Cedargate-Gate-Token", token));
        Self { address: doors.gate.clone(), gates }
    }

    /// The gate for questions of a channel.
    fn gate(&mut self, dashboard: bool) -> &mut Client {
        &mut self.gates[usize::from(dashboard)]
    }
}

/// A client's request as a gateway has it before it asks.
struct Seen<'a> {
    method: &'a str,
    path: &'a str,
    host: Option<&'a str>,
    /// The person that the gateway has authenticated.
    user: Option<&'a str>,
    /// What the client shows.
    authorization: Option<&'a str>,
}

impl Posed {
    /// For dialects that ask about requests and have no place for anything else.
    fn seen(&self) -> Result<Seen<'_>, &'static str> {
        let What::Request { method, path, host } = &self.what else { return Err("it asks about requests alone") };
        if !self.context.is_empty() {
            return Err("it has no place for a context");
        }
        let (user, authorization) = match &self.who {
            Who::Name(name) => (Some(name.as_str()), None),
            Who::Authorization(header) => (None, Some(header.as_str())),
            Who::Entity(_) => return Err("it asks about people alone"),
        };
        Ok(Seen { method, path, host: host.as_deref(), user, authorization })
    }
}

/// A way of asking.
pub struct Dialect {
    /// What it is called.
    pub name: &'static str,
    /// Asks all of them, and answers in their order.
    pub ask: fn(&mut Session, &[Posed]) -> Vec<Outcome>,
}

/// Every dialect.
pub const ALL: &[Dialect] = &[
    Dialect { name: "native", ask: native::one_by_one },
    Dialect { name: "native, in a batch", ask: native::in_a_batch },
    Dialect { name: "AuthZEN evaluation", ask: authzen::one_by_one },
    Dialect { name: "AuthZEN evaluations", ask: authzen::in_a_batch },
    Dialect { name: "forward-auth", ask: headers::forward_auth },
    Dialect { name: "auth-request", ask: headers::auth_request },
    Dialect { name: "Envoy over HTTP", ask: headers::envoy },
    Dialect { name: "Envoy over gRPC", ask: envoy_grpc::one_by_one },
    Dialect { name: "OPA data API, Kong", ask: opa::kong },
    Dialect { name: "OPA data API, APISIX", ask: opa::apisix },
];

/// Verdict and reason as the headers of an answer tell them.
#[track_caller]
fn told_by_headers(reply: &Reply) -> (bool, String) {
    let permit = match reply.header("cedargate-decision") {
        Some("permit") => true,
        Some("deny") => false,
        other => panic!("no decision in the headers: {other:?} in {}: {}", reply.status, reply.text()),
    };
    (permit, reply.header("cedargate-reason").expect("a reason in the headers").to_owned())
}
