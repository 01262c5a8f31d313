//! `cedargate demo`: a server of its own in a temporary folder, two identity providers, real questions over HTTP.
//!
//! Everything that is said and expected stands in `tests/cases/demo`, which is part of the binary. Each answer is held
//! against its file; the demo says so where one differs.

use std::collections::BTreeMap;

use bytes::Bytes;

use serde_json::{Value, json};

use super::{Addresses, App, Seams};
use crate::config::{Config, Overrides};
use crate::http::Method;
use crate::http::client::{Client, ClientError};
use crate::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use crate::policy::trial::{Case, CaseFile};
use crate::scim::conversation::{Conversation, ConversationError, Incoming, Outgoing, Sender};
use crate::store::BoxFuture;
use crate::telemetry::Stopwatch;

#[derive(rust_embed::RustEmbed)]
#[folder = "tests/cases/demo/"]
struct Files;

/// Why the demo broke off.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The server did not start or end well.
    #[error("{0}")]
    Start(#[from] super::StartError),
    /// The machine gives no folder or no settings.
    #[error("{0}")]
    Machine(String),
    /// A request got no answer.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// An identity provider's conversation went another way.
    #[error("{0}")]
    Conversation(#[from] ConversationError),
    /// The server refused to be set up.
    #[error("{path} was answered with {status}: {body}")]
    Refused {
        /// The path.
        path: String,
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
}

/// Runs the demo; `true` where every answer agreed with its file. Without `once` it serves until `stop`.
pub async fn run(
    once: bool,
    say: &mut (dyn FnMut(&str) + Send),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<bool, DemoError> {
    let folder = tempfile::tempdir().map_err(|error| DemoError::Machine(error.to_string()))?;
    let local = |_| Some("127.0.0.1:0".to_owned());
    let overrides = Overrides {
        data: Some(folder.path().display().to_string()),
        front: local(()),
        gate: local(()),
        ops: local(()),
        ..Overrides::default()
    };
    let config =
        Config::load(None, &BTreeMap::new(), &overrides).map_err(|faults| DemoError::Machine(faults.to_string()))?;
    let app = App::build(&config, Seams::default())?;
    let addresses = app.addresses().clone();
    let token = std::fs::read_to_string(folder.path().join("operator.token"))
        .map_err(|error| DemoError::Machine(error.to_string()))?;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(app.run(async move {
        if once {
            let _gone = ended.await;
        } else {
            stop.await;
        }
    }));
    let tour = Tour::new(&addresses, &token)?;
    let agreed = tour.take(say).await?;
    if once {
        let _gone = end.send(());
    } else {
        tour.invite(&addresses, folder.path(), say);
        drop(end);
    }
    serving.await.map_err(|error| DemoError::Machine(error.to_string()))??;
    Ok(agreed)
}

/// The way through the demo.
struct Tour {
    front: Client,
    gate: Client,
    ops: Client,
}

/// An identity provider at the front door.
struct Provider {
    client: Client,
    token: String,
}

impl Sender for Provider {
    fn send(&self, request: Outgoing) -> BoxFuture<'_, Result<Incoming, String>> {
        Box::pin(async move {
            let mut client = self.client.clone();
            let mut media_type = None;
            for (name, value) in request.headers {
                if name == "content-type" {
                    media_type = Some(value);
                    continue;
                }
                let name: HeaderName = name.parse().map_err(|_| format!("`{name}` is not a header"))?;
                let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
                client = client.header(name, value);
            }
            let bearer = HeaderValue::from_str(&format!("Bearer {}", self.token)).map_err(|error| error.to_string())?;
            client = client.header(AUTHORIZATION, bearer);
            let method: Method = request.method.parse().map_err(|_| format!("`{}` is not a method", request.method))?;
            let body = Bytes::from(request.body.unwrap_or_default());
            let reply = client
                .send(method, &request.path, media_type.as_deref(), body)
                .await
                .map_err(|error| error.to_string())?;
            let headers = (reply.headers.iter())
                .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
                .collect();
            Ok(Incoming { status: reply.status.as_u16(), headers, body: reply.text() })
        })
    }
}

impl Tour {
    fn new(addresses: &Addresses, token: &str) -> Result<Self, DemoError> {
        Ok(Self {
            front: Client::new(&addresses.front)?,
            gate: Client::new(&addresses.gate)?,
            ops: Client::new(&addresses.ops)?.bearer(token),
        })
    }

    async fn take(&self, say: &mut (dyn FnMut(&str) + Send)) -> Result<bool, DemoError> {
        let questions = cases("questions.toml")?;
        self.set_up(&questions).await?;
        let mut variables = BTreeMap::new();
        let okta = self.connect("okta", true).await?;
        let entra = self.connect("entra", false).await?;
        self.replay("okta.toml", &okta, &mut variables, say).await?;
        self.replay("entra.toml", &entra, &mut variables, say).await?;
        say("");
        say("Questions of gateways (POST /v1/authorize):");
        let mut agreed = true;
        for case in &questions.cases {
            agreed &= self.ask(case, say).await?;
        }
        say("");
        self.replay("deactivation.toml", &okta, &mut variables, say).await?;
        for case in &cases("after.toml")?.cases {
            agreed &= self.ask(case, say).await?;
        }
        let count = questions.cases.len() + 1;
        say("");
        say(&if agreed {
            format!("All {count} answers are the expected ones.")
        } else {
            "Some answers differ from their case files.".to_owned()
        });
        Ok(agreed)
    }

    /// One organization with the accounts of the case file.
    async fn set_up(&self, file: &CaseFile) -> Result<(), DemoError> {
        self.manage(Method::PUT, "/manage/v1/organizations/contoso", json!({"name": "Contoso"})).await?;
        let products = self.manage(Method::GET, "/manage/v1/products", Value::Null).await?;
        let listed = products.get("products").and_then(Value::as_array).into_iter().flatten();
        let all: Vec<Value> = listed.filter_map(|product| product.get("name").cloned()).collect();
        for (id, account) in &file.accounts {
            let products = if account.products.iter().any(|product| product == "*") {
                Value::from(all.clone())
            } else {
                json!(account.products)
            };
            let body = json!({"organization": "contoso", "name": format!("Account {id}"), "products": products});
            self.manage(Method::PUT, &format!("/manage/v1/accounts/{id}"), body).await?;
        }
        Ok(())
    }

    /// A connection for an identity provider of this profile.
    async fn connect(&self, profile: &str, may_grant_admin: bool) -> Result<Provider, DemoError> {
        let body = json!({
            "name": profile, "organization": "contoso", "profile": profile,
            "settings": {"may_grant_admin": may_grant_admin},
        });
        let made = self.manage(Method::POST, "/manage/v1/connections", body).await?;
        let token = made.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Provider { client: self.front.clone(), token })
    }

    async fn manage(&self, method: Method, path: &str, body: Value) -> Result<Value, DemoError> {
        let (media_type, body) = if body.is_null() {
            (None, Bytes::new())
        } else {
            (Some("application/json"), Bytes::from(body.to_string()))
        };
        let reply = self.ops.send(method, path, media_type, body).await?;
        if !reply.status.is_success() {
            let (status, body) = (reply.status.as_u16(), reply.text());
            return Err(DemoError::Refused { path: path.to_owned(), status, body });
        }
        Ok(reply.json().unwrap_or(Value::Null))
    }

    async fn replay(
        &self,
        file: &str,
        provider: &Provider,
        variables: &mut BTreeMap<String, String>,
        say: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), DemoError> {
        let conversation = Conversation::parse(file, &text(file)?)?;
        say(&format!("{} (SCIM):", conversation.name));
        let mut seen = |step: &crate::scim::conversation::Step, sent: &Outgoing, got: &Incoming| {
            let path = sent.path.split('?').next().unwrap_or_default();
            let path: String = path.chars().take(24).collect();
            say(&format!("  {:<6} {:<24} {}  {}", sent.method, path, got.status, step.name));
        };
        conversation.replay(provider, variables, &mut seen).await?;
        Ok(())
    }

    /// Asks one question and prints the answer; `false` where it differs from the file.
    async fn ask(&self, case: &Case, say: &mut (dyn FnMut(&str) + Send)) -> Result<bool, DemoError> {
        let body = question(case);
        let watch = Stopwatch::start();
        let reply = self.gate.post("/v1/authorize", &body).await?;
        let took = watch.elapsed();
        let answer: Value = reply.json()?;
        let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let policies: Vec<String> = (answer.get("policies").and_then(Value::as_array).into_iter().flatten())
            .filter_map(|policy| policy.as_str().map(str::to_owned))
            .collect();
        let (verdict, reason, message) = (text("/decision"), text("/reason/code"), text("/reason/message"));
        let faults = case.judge(&verdict, &reason, &message, &policies);
        let who = case.user.as_deref().unwrap_or("(a credential)").split('@').next().unwrap_or_default();
        let what = case.request.as_deref().or(case.action.as_deref()).unwrap_or_default();
        say(&format!("  {verdict:<6}  {who:<14} {what:<58} {:>5} µs", took.as_micros()));
        say(&format!("          {reason}: {message}"));
        faults.iter().for_each(|fault| say(&format!("          DIFFERS from `{}`: {fault}", case.name)));
        Ok(faults.is_empty())
    }

    /// What the reader can try.
    #[expect(clippy::unused_self, reason = "reads as the last stop of the tour")]
    fn invite(&self, addresses: &Addresses, data: &std::path::Path, say: &mut (dyn FnMut(&str) + Send)) {
        let data = data.display();
        say("");
        say("Still serving; try it yourself (Ctrl-C ends it and leaves nothing behind):");
        say(&format!(
            "  curl -s {}/v1/authorize -d '{{\"subject\":{{\"user\":\"svc-reader@contoso.example\"}},\
             \"request\":{{\"method\":\"GET\",\"path\":\"/api/accounts/100/orders\"}}}}'",
            addresses.gate
        ));
        say(&format!("  curl -s '{}/readyz?verbose'", addresses.ops));
        say(&format!(
            "  curl -s -H \"Authorization: Bearer $(cat {data}/operator.token)\" {}/manage/v1/accounts",
            addresses.ops
        ));
        say(&format!("  cedargate --data {data} can mchen POST /api/accounts/100/orders"));
    }
}

fn text(file: &str) -> Result<String, DemoError> {
    let missing = || DemoError::Machine(format!("the demo's file {file} is not part of this binary"));
    let found = Files::get(file).ok_or_else(missing)?;
    String::from_utf8(found.data.into_owned()).map_err(|_| missing())
}

fn cases(file: &str) -> Result<CaseFile, DemoError> {
    CaseFile::parse(file, &text(file)?).map_err(|fault| DemoError::Machine(fault.to_string()))
}

/// A case as the gate reads it.
fn question(case: &Case) -> Value {
    let subject = match (&case.user, &case.authorization) {
        (Some(user), _) => json!({"user": user}),
        (None, authorization) => json!({"authorization": authorization}),
    };
    let mut body = json!({"subject": subject});
    let mut set = |key: &str, value: Value| {
        if let Some(members) = body.as_object_mut() {
            members.insert(key.to_owned(), value);
        }
    };
    if let Some((method, path)) = case.request.as_deref().and_then(|request| request.split_once(' ')) {
        set("request", json!({"method": method, "path": path}));
    }
    if let Some(action) = &case.action {
        set("action", json!(action));
    }
    if let Some(channel) = &case.channel {
        set("channel", json!(channel));
    }
    body
}
