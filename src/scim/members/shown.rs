//! Members as an answer shows them: within it, or, where they are too many for that, streamed into it page by page, so that
//! the largest group costs no more memory than a page of it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{PAGE, type_of};
use crate::domain::Number;
use crate::http::{Body, Chunks, Response, StatusCode};
use crate::scim::query::Wanted;
use crate::scim::respond::{body, streamed};
use crate::scim::schema::ResourceKind;
use crate::scim::{Scim, ScimError, store_failure};
use crate::store::{Kind, Store};

/// Pages that wait for a slow reader.
const WAITING: usize = 2;
/// What an element of `members` may hold.
const PARTS: [&str; 3] = ["value", "$ref", "type"];

/// What an answer shows of each member.
#[derive(Clone, Debug)]
pub(in crate::scim) struct Elements {
    parts: Vec<&'static str>,
    /// Where people and groups are; an id is missing.
    people: String,
    groups: String,
}

impl Elements {
    fn element(&self, kind: Kind, id: &str) -> Value {
        let place = if kind == Kind::Group { &self.groups } else { &self.people };
        let value = |part| match part {
            "value" => id.to_owned(),
            "$ref" => format!("{place}{id}"),
            _ => type_of(kind).to_owned(),
        };
        Value::Object(self.parts.iter().map(|part| ((*part).to_owned(), Value::from(value(*part)))).collect())
    }
}

/// The members of a group that are still to be written into an answer.
pub(in crate::scim) struct Streamed {
    store: Arc<dyn Store>,
    group: Number,
    elements: Elements,
    /// Stands in the place of all of them; nobody can have sent it.
    placeholder: String,
}

impl Scim {
    /// What an answer to this shows of members; `None` where it holds none.
    pub(in crate::scim) fn member_elements(&self, wanted: &Wanted) -> Option<Elements> {
        let definition = self.schemas.definition(ResourceKind::Group);
        if !wanted.includes(definition, "members") {
            return None;
        }
        let mut shown = Map::from_iter([("members".to_owned(), json!([{"value": "", "$ref": "", "type": ""}]))]);
        definition.project(&mut shown, wanted.attributes.as_deref(), wanted.excluded.as_deref());
        let element = shown.get("members")?.get(0)?;
        let parts = PARTS.into_iter().filter(|part| element.get(part).is_some()).collect();
        let place = |kind| self.location(kind, "");
        Some(Elements { parts, people: place(ResourceKind::User), groups: place(ResourceKind::Group) })
    }

    /// All members of a group as an answer shows them; `None` where they are more than `most`.
    ///
    /// # Errors
    /// 503 and 500 from the store.
    pub(in crate::scim) async fn shown_members(
        &self,
        group: Number,
        elements: &Elements,
        most: usize,
    ) -> Result<Option<Vec<Value>>, ScimError> {
        let (mut members, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.members(group, after, PAGE).await.map_err(store_failure)?;
            let Some((last, ..)) = page.last() else { return Ok(Some(members)) };
            after = Some(*last);
            if members.len() + page.len() > most {
                return Ok(None);
            }
            members.extend(page.iter().map(|(_, kind, id)| elements.element(*kind, id)));
        }
    }

    /// The members of a group, to be streamed.
    pub(in crate::scim) fn streamed_members(&self, group: Number, elements: Elements) -> Streamed {
        Streamed { store: Arc::clone(&self.store), group, elements, placeholder: self.sources.identifier() }
    }
}

impl Streamed {
    /// What is to stand in the answer as `members`.
    pub fn placeholder(&self) -> Value {
        json!([self.placeholder])
    }

    /// The answer with the members in their place. A store that fails meanwhile breaks the transfer off, so that the
    /// client does not take a part for the whole.
    pub fn respond(self, status: StatusCode, answer: &Value) -> Response {
        let text = answer.to_string();
        let Some((before, after)) = text.split_once(&format!("\"{}\"", self.placeholder)) else {
            return body(status, answer);
        };
        let (chunks, whole) = Body::chunks(WAITING);
        tokio::spawn(self.write(chunks, before.to_owned(), after.to_owned()));
        streamed(status, whole)
    }

    async fn write(self, chunks: Chunks, mut text: String, rest: String) {
        let mut after = None;
        loop {
            let page = match self.store.members(self.group, after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, "the members of a group could not be read to their end");
                    return;
                }
            };
            let Some((last, ..)) = page.last() else { break };
            for (_, kind, id) in &page {
                if after.is_some() || !text.ends_with('[') {
                    text.push(',');
                }
                after = Some(*last);
                text.push_str(&self.elements.element(*kind, id).to_string());
            }
            if chunks.send(std::mem::take(&mut text)).await.is_err() {
                return;
            }
        }
        text.push_str(&rest);
        if chunks.send(text).await.is_ok() {
            chunks.finish();
        }
    }
}
