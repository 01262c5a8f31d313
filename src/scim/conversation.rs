//! Conversations: what an identity provider sends, step by step, and what it must get back, as TOML files.
//!
//! Tests replay them against the handlers, the `demo` command against the real door. Knows no transport: who replays
//! brings a [`Sender`].
//!
//! ```toml
//! name = "Okta: connection test"
//! source = "where the shapes are documented or logged"
//! profiles = ["okta", "generic"]              # the profiles of connections that it holds for
//! settings = { roles = ["Ordering"] }         # of the connection, where it needs any
//!
//! [[steps]]
//! name = "what happens"
//! request = "POST /scim/v2/Users"
//! headers = { content-type = "application/scim+json; charset=utf-8" }
//! body = '{"userName": "jdoe"}'
//! status = 201                                # or a list of those that are fine
//! expect = '{"userName": "jdoe"}'             # a part of the answer
//! detail = 'userName is required'             # of an error, without the event's id
//! expect_headers = { location = "*" }         # `*`: any value
//! absent = ["/password"]                      # JSON pointers that must lead nowhere
//! capture = { user_id = "/id", tag = "header:etag" }
//! ```
//! `${name}` stands for a variable in the request, headers, body and expectations.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::connection::{Profile, Settings};
use crate::store::BoxFuture;

/// A file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// What it shows.
    pub name: String,
    /// Where its shapes come from.
    pub source: String,
    /// The profiles that send these shapes, or that must withstand them. Empty: the replayer knows.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// What the connection may do.
    #[serde(default)]
    pub settings: Settings,
    /// In order.
    pub steps: Vec<Step>,
}

/// One request and what must come back.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens.
    pub name: String,
    /// Method, blank, path with query.
    pub request: String,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, as it is sent.
    #[serde(default)]
    pub body: Option<String>,
    /// The status that must come back.
    pub status: Statuses,
    /// JSON that the answer must contain: objects may have more members, arrays must have as many elements.
    #[serde(default)]
    pub expect: Option<String>,
    /// The sentence that the answer's `detail` must hold, up to the id of the event that follows it.
    #[serde(default)]
    pub detail: Option<String>,
    /// Headers that the answer must have.
    #[serde(default)]
    pub expect_headers: BTreeMap<String, String>,
    /// JSON pointers that must lead nowhere in the answer.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Variables to take from the answer: JSON pointers, or `header:` and a name.
    #[serde(default)]
    pub capture: BTreeMap<String, String>,
}

/// The statuses that are fine.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Statuses {
    /// This one.
    One(u16),
    /// Any of these.
    Any(Vec<u16>),
}

impl Statuses {
    fn holds(&self, status: u16) -> bool {
        match self {
            Self::One(one) => *one == status,
            Self::Any(many) => many.contains(&status),
        }
    }
}

/// A request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The status.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// Carries requests to a server.
pub trait Sender: Sync {
    /// Sends one and waits for its answer; an error is a sentence about what went wrong on the way.
    fn send(&self, request: Outgoing) -> BoxFuture<'_, Result<Incoming, String>>;
}

/// Why a conversation did not go as its file says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConversationError {
    /// The file is not a conversation.
    #[error("the conversation {file} cannot be read: {reason}")]
    File {
        /// Which file.
        file: String,
        /// What the parser said.
        reason: String,
    },
    /// A step went another way.
    #[error("{conversation}, step `{step}`: {reason}")]
    Step {
        /// The conversation's name.
        conversation: String,
        /// The step's name.
        step: String,
        /// What was expected and what came.
        reason: String,
    },
}

impl Conversation {
    /// Reads a file's text; `file` is for messages.
    ///
    /// # Errors
    /// [`ConversationError::File`], also for expectations that are not JSON.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConversationError> {
        let fault = |reason: String| ConversationError::File { file: file.to_owned(), reason };
        let conversation: Self = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
        for step in &conversation.steps {
            if step.request.split_once(' ').is_none() {
                return Err(fault(format!("step `{}`: the request needs a method and a path", step.name)));
            }
            if let Some(expect) = &step.expect {
                // Variables stand in texts, so that the JSON is whole before they are filled in.
                serde_json::from_str::<Value>(expect)
                    .map_err(|error| fault(format!("step `{}`: expect is not JSON: {error}", step.name)))?;
            }
        }
        Ok(conversation)
    }

    /// Sends every step and compares; `seen` hears of each that went well. Variables go in and come out.
    ///
    /// # Errors
    /// [`ConversationError::Step`] at the first that went another way.
    pub async fn replay(
        &self,
        sender: &dyn Sender,
        variables: &mut BTreeMap<String, String>,
        seen: &mut (dyn FnMut(&Step, &Outgoing, &Incoming) + Send),
    ) -> Result<(), ConversationError> {
        for step in &self.steps {
            let fault = |reason: String| ConversationError::Step {
                conversation: self.name.clone(),
                step: step.name.clone(),
                reason,
            };
            let outgoing = step.outgoing(variables).map_err(fault)?;
            let incoming = sender.send(outgoing.clone()).await.map_err(fault)?;
            step.compare(&incoming, variables)
                .map_err(|reason| fault(format!("{reason}; the answer was {} {}", incoming.status, incoming.body)))?;
            seen(step, &outgoing, &incoming);
        }
        Ok(())
    }
}

impl Step {
    fn outgoing(&self, variables: &BTreeMap<String, String>) -> Result<Outgoing, String> {
        let request = fill(&self.request, variables)?;
        let (method, path) = request.split_once(' ').ok_or("the request needs a method and a path")?;
        let mut headers = BTreeMap::new();
        for (name, value) in &self.headers {
            headers.insert(name.to_ascii_lowercase(), fill(value, variables)?);
        }
        let body = self.body.as_deref().map(|body| fill(body, variables)).transpose()?;
        Ok(Outgoing { method: method.to_owned(), path: path.trim().to_owned(), headers, body })
    }

    fn compare(&self, incoming: &Incoming, variables: &mut BTreeMap<String, String>) -> Result<(), String> {
        if !self.status.holds(incoming.status) {
            return Err(format!("the status should be {:?}", self.status));
        }
        for (name, value) in &self.expect_headers {
            let value = fill(value, variables)?;
            let found = incoming.headers.get(&name.to_ascii_lowercase());
            if found.is_none_or(|found| value != "*" && *found != value) {
                return Err(format!("the header {name} should be {value} and is {found:?}"));
            }
        }
        let body: Value = serde_json::from_str(&incoming.body).unwrap_or(Value::Null);
        if let Some(expect) = &self.expect {
            let expect: Value = serde_json::from_str(&fill(expect, variables)?).map_err(|error| error.to_string())?;
            contains(&body, &expect, "")?;
        }
        if let Some(detail) = &self.detail {
            let detail = fill(detail, variables)?;
            let found = body.get("detail").and_then(Value::as_str).unwrap_or_default();
            if found.split_once(" (event ").map_or(found, |(sentence, _)| sentence) != detail {
                return Err(format!("the detail should be `{detail}`"));
            }
        }
        if let Some(there) = self.absent.iter().find(|pointer| body.pointer(pointer).is_some()) {
            return Err(format!("there should be nothing at {there}"));
        }
        for (name, place) in &self.capture {
            let found = match place.strip_prefix("header:") {
                Some(header) => incoming.headers.get(&header.to_ascii_lowercase()).cloned(),
                None => {
                    body.pointer(place).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                }
            };
            let found = found.ok_or_else(|| format!("there should be something at {place}"))?;
            variables.insert(name.clone(), found);
        }
        Ok(())
    }
}

/// Puts variables in. What is not a name in `${…}` stays as it is.
fn fill(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or_else(|| format!("`${{` without `}}` in {text}"))?;
        let value = variables.get(name).ok_or_else(|| format!("there is no variable {name}"))?;
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Whether a value holds everything that is expected of it.
fn contains(found: &Value, expected: &Value, place: &str) -> Result<(), String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (name, expected) in expected {
                let place = format!("{place}/{name}");
                let found = found.get(name).ok_or_else(|| format!("{place} is missing"))?;
                contains(found, expected, &place)?;
            }
            Ok(())
        }
        (Value::Array(found), Value::Array(expected)) => {
            if found.len() != expected.len() {
                return Err(format!("{place} has {} elements and should have {}", found.len(), expected.len()));
            }
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                contains(found, expected, &format!("{place}/{index}"))?;
            }
            Ok(())
        }
        (found, expected) if found == expected => Ok(()),
        (found, expected) => Err(format!("{place} is {found} and should be {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Echo;

    impl Sender for Echo {
        fn send(&self, request: Outgoing) -> BoxFuture<'_, Result<Incoming, String>> {
            Box::pin(async move {
                let headers = BTreeMap::from([("x".to_owned(), request.path)]);
                Ok(Incoming { status: 200, headers, body: request.body.unwrap_or_default() })
            })
        }
    }

    async fn replay(steps: &str) -> Result<BTreeMap<String, String>, ConversationError> {
        let conversation = Conversation::parse("t", &format!("name = \"t\"\nsource = \"t\"\n{steps}"))?;
        let mut variables = BTreeMap::from([("v".to_owned(), "1".to_owned())]);
        conversation.replay(&Echo, &mut variables, &mut |_, _, _| {}).await?;
        Ok(variables)
    }

    #[tokio::test]
    async fn steps_are_sent_compared_and_captured() {
        let steps = r#"
            [[steps]]
            name = "one"
            request = "POST /a?${v}"
            body = '{"id": "${v}", "more": [1, {"a": 2, "b": 3}]}'
            status = [200, 201]
            expect = '{"id": "${v}", "more": [1, {"b": 3}]}'
            expect_headers = { x = "/a?${v}" }
            absent = ["/password"]
            capture = { id = "/id", path = "header:x" }
        "#;
        let variables = replay(steps).await.unwrap();
        assert_eq!((variables["id"].as_str(), variables["path"].as_str()), ("1", "/a?1"));
    }

    #[tokio::test]
    async fn every_difference_is_told() {
        let cases = [
            ("status = 201", "the status should be"),
            ("status = 200\nexpect = '{\"a\": 2}'", "/a is 1 and should be 2"),
            ("status = 200\nexpect = '{\"b\": 2}'", "/b is missing"),
            ("status = 200\nexpect = '{\"l\": [1]}'", "/l has 2 elements"),
            ("status = 200\nabsent = [\"/a\"]", "nothing at /a"),
            ("status = 200\ndetail = \"x\"", "the detail should be `x`"),
            ("status = 200\nexpect_headers = { y = \"*\" }", "the header y"),
            ("status = 200\ncapture = { z = \"/z\" }", "something at /z"),
            ("status = 200\nheaders = { a = \"${none}\" }", "no variable none"),
        ];
        for (case, reason) in cases {
            let steps =
                format!("[[steps]]\nname = \"s\"\nrequest = \"PUT /\"\nbody = '{{\"a\": 1, \"l\": [1, 2]}}'\n{case}");
            let error = replay(&steps).await.unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("`s`"), "{case}: {error}");
        }
    }

    #[test]
    fn files_must_be_conversations() {
        for text in ["", "name = 1", "name = \"a\"\nsource = \"b\"\nsteps = []\nmore = 1"] {
            assert!(Conversation::parse("f", text).is_err(), "{text}");
        }
        assert!(contains(&json!({"a": null}), &json!({"a": null}), "").is_ok());
    }
}
