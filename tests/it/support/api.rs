//! The three doors, each with its own credential in its own type.

use serde_json::{Value, json};

use super::http::{Client, Reply};
use crate::model::{Ask, What};

/// Access with the operator token: `/manage/v1`.
pub struct Operator(Client);

impl Operator {
    pub(super) const fn new(client: Client) -> Self {
        Self(client)
    }

    /// Any request; the path is below `/manage/v1/`.
    #[track_caller]
    pub fn call(&mut self, method: &str, path: &str, body: &Value) -> Reply {
        self.0.json(method, &format!("/manage/v1/{path}"), body)
    }

    /// As [`Self::call`], for servers that may die meanwhile.
    pub fn try_call(&mut self, method: &str, path: &str, body: &Value) -> Result<Reply, std::io::Error> {
        self.0.try_json(method, &format!("/manage/v1/{path}"), body)
    }

    /// A path beside the manage API: `/readyz` and its neighbours.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Reply {
        self.0.json("GET", path, &Value::Null)
    }

    /// Makes an organization.
    #[track_caller]
    pub fn organization(&mut self, id: &str) {
        self.call("PUT", &format!("organizations/{id}"), &json!({"name": id})).expect(&[200, 201]);
    }

    /// Makes an account with products.
    #[track_caller]
    pub fn account(&mut self, organization: &str, id: &str, products: &[String]) {
        let body = json!({"organization": organization, "name": id, "products": products});
        self.call("PUT", &format!("accounts/{id}"), &body).expect(&[200, 201]);
    }

    /// Every product name.
    #[track_caller]
    pub fn products(&mut self) -> Vec<String> {
        let table = self.call("GET", "products", &Value::Null).expect(&[200]).json();
        let products = table["products"].as_array().unwrap();
        products.iter().map(|product| product["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Makes a connection that may grant everything inside the organization; answers its token.
    #[track_caller]
    pub fn connection(&mut self, organization: &str, profile: &str) -> String {
        let body = json!({"name": format!("{organization} {profile}"), "organization": organization,
            "profile": profile, "settings": {"may_grant_admin": true}});
        let made = self.call("POST", "connections", &body).expect(&[201]).json();
        made["token"].as_str().unwrap().to_owned()
    }
}

/// Access with the token of a connection: `/scim/v2`.
pub struct Provisioner(Client);

impl Provisioner {
    pub(super) const fn new(client: Client) -> Self {
        Self(client)
    }

    /// Any request; the path is below `/scim/v2/`.
    #[track_caller]
    pub fn call(&mut self, method: &str, path: &str, body: &Value) -> Reply {
        self.0.json(method, &format!("/scim/v2/{path}"), body)
    }

    /// As [`Self::call`], for servers that may die meanwhile.
    pub fn try_call(&mut self, method: &str, path: &str, body: &Value) -> Result<Reply, std::io::Error> {
        self.0.try_json(method, &format!("/scim/v2/{path}"), body)
    }

    /// Bytes as they are; the path is below `/scim/v2/`.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Reply, std::io::Error> {
        self.0.send(method, &format!("/scim/v2/{path}"), "application/scim+json", body)
    }
}

/// Questions to the gate.
pub struct Asker(Client);

/// A decision as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Permit or deny.
    pub permit: bool,
    /// The reason's code.
    pub reason: String,
    /// The reason's sentence.
    pub message: String,
    /// Determining policies.
    pub policies: Vec<String>,
    /// The state that it was made on.
    pub revision: String,
}

impl Answer {
    /// Reads one decision.
    #[track_caller]
    pub fn read(body: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no decision: {body}")).to_owned();
        let permit = match text(&body["decision"]).as_str() {
            "permit" => true,
            "deny" => false,
            other => panic!("neither permit nor deny: {other}"),
        };
        Self {
            permit,
            reason: text(&body["reason"]["code"]),
            message: text(&body["reason"]["message"]),
            policies: body["policies"].as_array().unwrap().iter().map(text).collect(),
            revision: text(&body["revision"]),
        }
    }
}

impl Asker {
    pub(super) const fn new(client: Client) -> Self {
        Self(client)
    }

    /// Asks, whatever comes.
    #[track_caller]
    pub fn post(&mut self, path: &str, body: &Value) -> Reply {
        self.0.json("POST", path, body)
    }

    /// Asks one question.
    #[track_caller]
    pub fn ask(&mut self, body: &Value) -> Answer {
        let reply = self.post("/v1/authorize", body).expect(&[200]);
        let answer = Answer::read(&reply.json());
        // What a gateway reads from the headers must not differ from the body.
        assert_eq!(reply.header("cedargate-decision"), Some(if answer.permit { "permit" } else { "deny" }));
        assert_eq!(reply.header("cedargate-reason"), Some(answer.reason.as_str()));
        answer
    }

    /// Asks several on one state.
    #[track_caller]
    pub fn batch(&mut self, questions: &[Value]) -> Vec<Answer> {
        let reply = self.post("/v1/authorize/batch", &json!({"questions": questions})).expect(&[200]).json();
        reply["decisions"].as_array().unwrap().iter().map(Answer::read).collect()
    }
}

/// A question of the model on the wire.
pub fn question(ask: &Ask) -> Value {
    let mut body = json!({"subject": {"user": ask.who}});
    match &ask.what {
        What::SignIn => body["action"] = json!("signIn"),
        What::Request { method, path } => body["request"] = json!({"method": method, "path": path}),
    }
    if ask.dashboard {
        body["channel"] = json!("dashboard");
    }
    let mut context = serde_json::Map::new();
    if let Some(account) = &ask.account {
        context.insert("account".into(), json!(account));
    }
    if let Some(product) = &ask.product {
        context.insert("product".into(), json!(product));
    }
    if let Some(attributes) = &ask.attributes {
        context.insert("attributes".into(), json!(attributes));
    }
    if !context.is_empty() {
        body["context"] = Value::Object(context);
    }
    body
}
