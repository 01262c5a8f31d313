//! `who-can` and `what-can`: searches over everybody, asked of a running server.

use clap::Args;
use serde_json::{Map, Value, json};

use super::arguments::ChannelName;
use super::exit::Exit;
use super::output::OutputFormat;
use super::session::{Session, Verdict, plain};
use crate::http::Method;

/// Flags of `who-can`.
#[derive(Debug, Args)]
pub struct WhoCan {
    /// HTTP method, as the gateway would see it
    #[arg(required_unless_present = "action")]
    pub method: Option<String>,
    /// Path with query, as the gateway would see it
    #[arg(required_unless_present = "action")]
    pub path: Option<String>,
    /// Ask for an action by its name instead of a request
    #[arg(long, conflicts_with_all = ["method", "path"])]
    pub action: Option<String>,
    /// The resource of the action, as TYPE::ID
    #[arg(long, value_name = "TYPE::ID", requires = "action", value_parser = super::can::resource)]
    pub resource: Option<(String, String)>,
    /// Where the question comes from
    #[arg(long, value_enum, default_value_t)]
    pub channel: ChannelName,
    /// The account that is meant, for requests without one in their path
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
}

/// Flags of `what-can`.
#[derive(Debug, Args)]
pub struct WhatCan {
    /// Username or login
    pub user: String,
    /// What they can do on this resource, as TYPE::ID
    #[arg(long, value_name = "TYPE::ID", conflicts_with = "action", value_parser = super::can::resource)]
    pub resource: Option<(String, String)>,
    /// On what they can do this action
    #[arg(long)]
    pub action: Option<String>,
    /// The entity type that the action is done on
    #[arg(long = "type", value_name = "TYPE", requires = "action", default_value = "Account")]
    pub kind: String,
    /// Where the question comes from
    #[arg(long, value_enum, default_value_t)]
    pub channel: ChannelName,
}

/// `who-can`: usernames, one a line. Ends with 5 where nobody can.
pub async fn who_can(session: &mut Session<'_>, flags: WhoCan) -> Verdict {
    let mut question = Map::new();
    if let Some(action) = flags.action {
        question.insert("action".into(), json!(action));
        if let Some((kind, id)) = flags.resource {
            question.insert("resource".into(), json!({"type": kind, "id": id}));
        }
    } else {
        question.insert("request".into(), json!({"method": flags.method, "path": flags.path}));
    }
    if let Some(account) = flags.account {
        question.insert("account".into(), json!(account));
    }
    question.insert("channel".into(), json!(flags.channel.name()));
    all(session, "/v1/search/subjects", question).await
}

/// `what-can`: names of actions, or ids of resources, one a line. Ends with 5 where there is none.
pub async fn what_can(session: &mut Session<'_>, flags: WhatCan) -> Verdict {
    let mut question = Map::new();
    question.insert("user".into(), json!(flags.user));
    question.insert("channel".into(), json!(flags.channel.name()));
    let path = if let Some(action) = flags.action {
        question.insert("action".into(), json!(action));
        question.insert("type".into(), json!(flags.kind));
        "/v1/search/resources"
    } else {
        if let Some((kind, id)) = flags.resource {
            question.insert("resource".into(), json!({"type": kind, "id": id}));
        }
        "/v1/search/actions"
    };
    all(session, path, question).await
}

/// Every part of a search, as it comes.
async fn all(session: &mut Session<'_>, path: &str, mut question: Map<String, Value>) -> Verdict {
    let (mut ids, mut count) = (Vec::new(), 0);
    loop {
        let (answer, _) = session.remote.call(Method::POST, path, Some(Value::Object(question.clone()))).await?;
        let part = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match session.out.format {
            OutputFormat::Table => part.iter().for_each(|id| session.out.line(&plain(id))),
            OutputFormat::Json => ids.extend(part.iter().cloned()),
        }
        count += part.len();
        match answer.get("next") {
            Some(Value::String(next)) => drop(question.insert("after".into(), json!(next))),
            Some(_) | None => break,
        }
    }
    if session.out.format == OutputFormat::Json {
        session.out.json(&json!({"items": ids}));
    }
    session.out.say(&format!("{} found", count));
    Ok(if count == 0 { Exit::No } else { Exit::Success })
}
