//! One question in every dialect. A dialect is one entry of [`ALL`]: how it says a question, and where its answer
//! tells verdict and reason. What a dialect has no words for is left out by name, never silently.

mod authzen;
mod native;
mod opa;

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

/// Where questions go: the gate as gateways of the API and of the dashboard see it.
pub struct Session {
    api: Client,
    dashboard: Option<Client>,
}

/// Why a question of the dashboard cannot be asked: only the native dialect says the channel itself.
const NO_CHANNEL: &str = "the channel is the gate's to say, and this one is of the API";

impl Session {
    /// To this server.
    pub fn new(doors: &Doors) -> Self {
        Self { api: doors.anonymous("gate"), dashboard: None }
    }

    /// The gate for questions of a channel.
    fn gate(&mut self, dashboard: bool) -> Result<&mut Client, &'static str> {
        if dashboard { self.dashboard.as_mut().ok_or(NO_CHANNEL) } else { Ok(&mut self.api) }
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
