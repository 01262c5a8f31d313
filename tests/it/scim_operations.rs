//! Connections at work, over real HTTP: tokens, rates, the provisioning log, the meter, the alarm and its undo.

mod alarm;
mod command;
mod log;
mod tokens;

use std::sync::Arc;

use cedargate::app::Seams;
use cedargate::clock::{HandClock, Sources, SystemRandom};
use cedargate::domain::Timestamp;
use serde_json::{Value, json};

use crate::support::{InProcess, Operator, Provisioner, Reply};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// A server whose clock the test turns, with one organization and one account.
struct House {
    server: InProcess,
    clock: Arc<HandClock>,
    operator: Operator,
}

/// A connection with the door it opens.
struct Idp {
    id: String,
    token: String,
    door: Provisioner,
}

impl House {
    fn new() -> Self {
        // A fixed Thursday; the hand clock stands still unless it is turned.
        let clock = Arc::new(HandClock::new(Timestamp(1_893_456_000_000)));
        let sources = Sources { clock: clock.clone(), random: Arc::new(SystemRandom) };
        let server = InProcess::start(Seams { sources, ..Seams::default() });
        let mut operator = server.doors().operator();
        operator.organization("acme");
        operator.account("acme", "100", &[]);
        Self { server, clock, operator }
    }

    fn connect(&mut self, settings: Value) -> Idp {
        let body = json!({"name": "Okta", "organization": "acme", "profile": "generic", "settings": settings});
        let made = self.operator.call("POST", "connections", &body).expect(&[201]).json();
        let (id, token) = (text(&made["id"]), text(&made["token"]));
        let door = self.server.doors().provisioner(&token);
        Idp { id, token, door }
    }

    fn get(&mut self, path: &str) -> Value {
        self.operator.call("GET", path, &Value::Null).expect(&[200]).json()
    }

    /// The whole log of a connection, newest first, page by page.
    fn events(&mut self, connection: &str, query: &str) -> Vec<Value> {
        let (mut events, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("connections/{connection}/events?count=7{query}{cursor}"));
            events.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return events,
            }
        }
    }
}

impl Idp {
    /// A person with a role and an account; answers the id.
    fn user(&mut self, name: &str) -> String {
        let body = json!({"schemas": [USER, USER_EXTENSION], "userName": name, "roles": [{"value": "Ordering"}],
            (USER_EXTENSION): {"accounts": ["100"], "accessMethods": ["api", "dashboard"]}});
        text(&self.door.call("POST", "Users", &body).expect(&[201]).json()["id"])
    }

    fn patch(&mut self, path: &str, operations: &Value) -> Reply {
        self.door.call("PATCH", path, &json!({"schemas": [PATCH], "Operations": operations}))
    }

    fn deactivate(&mut self, id: &str) -> Reply {
        self.patch(&format!("Users/{id}"), &json!([{"op": "replace", "value": {"active": false}}]))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The event that an error's `detail` names.
fn event_of(reply: &Reply) -> String {
    let detail = text(&reply.json()["detail"]);
    let id = detail.rsplit_once("(event ").unwrap_or_else(|| panic!("no event in {detail}")).1;
    id.trim_end_matches(')').to_owned()
}
