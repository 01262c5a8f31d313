//! What the verbs that ask a server share: the server, the streams, and lists that come in pages.

use serde_json::Value;

use super::exit::Exit;
use super::output::{Out, OutputFormat};
use super::remote::{Fault, Remote, Reply};
use crate::http::Method;

/// What a verb ends with.
pub type Verdict = Result<Exit, Fault>;

/// Items asked for at a time.
const PAGE: usize = 1_000;

/// A verb at work.
pub struct Session<'a> {
    /// Whom it asks.
    pub remote: Remote,
    /// Where it writes.
    pub out: &'a mut Out,
}

impl Session<'_> {
    /// Shows one resource: facts for people, the server's JSON for programs.
    pub async fn show(&mut self, path: &str, facts: impl Fn(&Value) -> Vec<(&'static str, String)>) -> Verdict {
        let value = self.remote.get(path).await?;
        self.print(&value, facts);
        Ok(Exit::Success)
    }

    /// Writes, then shows what the server answered.
    pub async fn write(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
        facts: impl Fn(&Value) -> Vec<(&'static str, String)>,
    ) -> Result<Value, Fault> {
        let (value, reply) = self.remote.call(method, path, body).await?;
        if !value.is_null() {
            self.print(&value, facts);
        }
        self.done(&reply);
        Ok(value)
    }

    /// Shows all pages of a list as they come.
    pub async fn list(
        &mut self,
        path: &str,
        parameters: &[(&str, Option<&str>)],
        header: &[&str],
        row: impl Fn(&Value) -> Vec<String>,
    ) -> Verdict {
        let mut query = format!("?count={PAGE}");
        for (name, value) in parameters {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", super::remote::encoded(value)));
            }
        }
        let (mut cursor, mut total) = (String::new(), 0);
        loop {
            let page = self.remote.get(&format!("{path}{query}{cursor}")).await?;
            let items = page.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let next = page.get("next").and_then(Value::as_str);
            match self.out.format {
                OutputFormat::Table if total == 0 || !items.is_empty() => {
                    self.out.table(header, &items.iter().map(&row).collect::<Vec<_>>());
                }
                OutputFormat::Table => {}
                OutputFormat::Json => self.elements(items, total == 0, next.is_none()),
            }
            total += items.len();
            match next {
                Some(next) => cursor = format!("&cursor={}", super::remote::encoded(next)),
                None => break,
            }
        }
        if total == 0 {
            self.out.say("nothing found");
        }
        Ok(Exit::Success)
    }

    /// Says which revision holds a write.
    pub fn done(&mut self, reply: &Reply) {
        if let Some(revision) = &reply.revision {
            self.out.say(&format!("done, in revision {revision}"));
        }
    }

    /// One value, for people or programs.
    pub fn print(&mut self, value: &Value, facts: impl Fn(&Value) -> Vec<(&'static str, String)>) {
        match self.out.format {
            OutputFormat::Table => self.out.facts(&facts(value)),
            OutputFormat::Json => self.out.json(value),
        }
    }

    /// A part of one JSON array that is written page by page, an element a line.
    fn elements(&mut self, items: &[Value], first: bool, last: bool) {
        let mut text = String::from(if first { "[" } else { "" });
        for (index, item) in items.iter().enumerate() {
            text.push_str(if first && index == 0 { "\n" } else { ",\n" });
            text.push_str(&item.to_string());
        }
        if last {
            text.push_str("\n]\n");
        }
        self.out.raw(text.as_bytes());
    }
}

/// A member as text: strings as they are, arrays separated by commas, nothing where there is none.
pub fn text(value: &Value, name: &str) -> String {
    value.get(name).map(plain).unwrap_or_default()
}

/// A value as text for a table.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// [`text`] for a list of members, each under its own name.
pub fn members(value: &Value, names: &[&'static str]) -> Vec<(&'static str, String)> {
    names.iter().map(|name| (*name, text(value, name))).collect()
}
