//! What every endpoint of this room shares: reading bodies, ids, names and pages; answering; turning a
//! store's failure into a refusal. Knows no particular resource.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::domain::{Number, Revision, Timestamp};
use crate::http::header::HeaderValue;
use crate::http::{self, Refusal, Request, Response, StatusCode};
use crate::store::{Page, Position, Record, StoreError};

/// The header in which every write names the revision that holds it.
pub(crate) const REVISION: &str = "cedargate-revision";

/// How often a read-modify-write starts anew when somebody else wrote in between.
pub(super) const ATTEMPTS: usize = 8;

/// How long an id may be, in bytes.
const ID_LENGTH: usize = 128;

/// How long a name may be, in characters.
const NAME_LENGTH: usize = 256;

/// Items on a page when the request does not say.
const DEFAULT_COUNT: u64 = 100;

/// Items on a page at most.
const MAXIMUM_COUNT: u64 = 1_000;

/// Whether this can be the id of an organization or account: 1 to 128 of letters, digits, `.`, `_`, `-`, and not
/// dots alone, since no path could name such an account.
pub(super) fn identifier(what: &str, text: &str) -> Result<String, Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > ID_LENGTH || !text.bytes().all(allowed) || text.bytes().all(|byte| byte == b'.')
    {
        return Err(Refusal::bad_request(format!(
            "{} cannot be the id of an {what}: use 1 to {ID_LENGTH} of the characters A-Z a-z 0-9 . _ - and not dots alone",
            quoted(text)
        )));
    }
    Ok(text.to_owned())
}

/// A name for people: 1 to 256 characters, none of them a control character, without blanks around it.
pub(super) fn name(what: &str, text: &str) -> Result<String, Refusal> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.chars().count() > NAME_LENGTH || trimmed.chars().any(char::is_control) {
        return Err(Refusal::bad_request(format!(
            "the name of the {what} must have 1 to {NAME_LENGTH} characters and no control characters"
        )));
    }
    Ok(trimmed.to_owned())
}

/// Text from outside, made safe and short enough for a message.
pub(super) fn quoted(text: &str) -> String {
    let mut shown = String::from("`");
    for character in text.chars().take(ID_LENGTH) {
        if character.is_control() {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    if text.chars().nth(ID_LENGTH).is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}

/// The body as a JSON object with exactly the members of `T`.
///
/// # Errors
/// 400 naming the place for anything else.
pub(super) fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    // A struct would also be read from a JSON array, by position.
    if request.body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Refusal::bad_request("the body must be a JSON object"));
    }
    serde_json::from_slice(&request.body)
        .map_err(|fault| Refusal::bad_request(format!("the body cannot be read: {fault}")))
}

/// The query's parameters, each at most once and none that the endpoint does not know.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query.
    ///
    /// # Errors
    /// 400 for an unknown or a repeated parameter.
    pub(super) fn read(request: &Request, known: &[&str]) -> Result<Self, Refusal> {
        let pairs = request.query_pairs();
        for (index, (key, _)) in pairs.iter().enumerate() {
            if !known.contains(&key.as_str()) {
                let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Refusal::bad_request(format!(
                    "unknown query parameter {}; this endpoint takes: {list}",
                    quoted(key)
                )));
            }
            if pairs.iter().take(index).any(|(before, _)| before == key) {
                return Err(Refusal::bad_request(format!("the query parameter `{key}` is given twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter's value.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The page that `cursor` and `count` ask for.
    pub(super) fn page(&self) -> Result<Listing, Refusal> {
        let after = match self.get("cursor") {
            None | Some("") => None,
            Some(cursor) => Some(parse_cursor(cursor).ok_or_else(|| {
                Refusal::bad_request("the cursor is not one of ours: begin without it, then follow `next`")
            })?),
        };
        Ok(Listing { after, count: self.count()? })
    }

    /// How many items at most.
    pub(super) fn count(&self) -> Result<u64, Refusal> {
        let Some(text) = self.get("count") else { return Ok(DEFAULT_COUNT) };
        text.parse::<u64>()
            .ok()
            .filter(|count| (1..=MAXIMUM_COUNT).contains(count))
            .ok_or_else(|| Refusal::bad_request(format!("`count` must be a whole number from 1 to {MAXIMUM_COUNT}")))
    }
}

/// A page of a list, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Only what comes after this number.
    pub(super) after: Option<Number>,
    /// How many items at most.
    pub(super) count: u64,
}

impl Listing {
    /// What to ask the store for: one more than the page holds, which tells whether another page follows.
    pub(super) fn page(self) -> Page {
        Page { offset: 0, count: self.count + 1, after: self.after.map(Position::from) }
    }

    /// `{"items", "next"}` of the records found with [`Self::page`].
    pub(super) fn answer(
        self,
        mut records: Vec<Record>,
        view: impl Fn(&Record) -> Result<Value, Refusal>,
    ) -> Result<Response, Refusal> {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        let more = records.len() > count;
        records.truncate(count);
        let next = records.last().filter(|_| more).map(|record| cursor(record.number));
        let items = records.iter().map(view).collect::<Result<Vec<_>, _>>()?;
        Ok(list(items, next))
    }
}

/// `{"items": […], "next": …}`.
pub(super) fn list(items: Vec<Value>, next: Option<String>) -> Response {
    http::json(StatusCode::OK, &json!({"items": items, "next": next}))
}

/// Where the next page begins, as clients hand it back. Opaque to them.
pub(super) fn cursor(number: Number) -> String {
    format!("c{number:x}")
}

fn parse_cursor(text: &str) -> Option<Number> {
    Number::from_str_radix(text.strip_prefix('c')?, 16).ok()
}

/// A JSON answer to a write, with the revision that holds it.
pub(super) fn written(status: StatusCode, revision: Revision, body: &Value) -> Response {
    with_revision(http::json(status, body), revision)
}

/// The answer, with `Cedargate-Revision`.
pub(super) fn with_revision(mut response: Response, revision: Revision) -> Response {
    if let Ok(value) = HeaderValue::try_from(revision.to_string()) {
        response.headers_mut().insert(REVISION, value);
    }
    response
}

/// A store's failure, as the client sees it; the cause of an internal one goes to the log only.
pub(super) fn refused(error: StoreError) -> Refusal {
    match error {
        StoreError::Taken(_) | StoreError::Exists { .. } => Refusal::conflict(error.to_string()),
        StoreError::VersionMismatch { .. } => changed_meanwhile(),
        StoreError::NotFound(_) => Refusal::not_found("the resource went away meanwhile"),
        StoreError::Unavailable(cause) => {
            tracing::error!(cause, "the store is unavailable");
            Refusal::unavailable("store-unavailable", "the store cannot be used right now; nothing was changed")
        }
        StoreError::TooComplex(_) => Refusal::bad_request(error.to_string()),
        StoreError::Invalid(cause) => {
            tracing::error!(cause, "the store refused what this room built");
            Refusal::internal("the store does not take this; the log says why")
        }
        StoreError::Damaged(cause) => {
            tracing::error!(cause, "the store is damaged");
            Refusal::internal("the store holds something that cannot be true; the log says what")
        }
    }
}

/// 409 after [`ATTEMPTS`] attempts.
pub(super) fn changed_meanwhile() -> Refusal {
    Refusal::conflict("somebody else keeps changing the same resource; try again")
}

/// A document that this room wrote earlier.
pub(super) fn stored<T: DeserializeOwned>(record: &Record) -> Result<T, Refusal> {
    serde_json::from_str(&record.document).map_err(|fault| {
        tracing::error!(kind = record.kind.name(), id = record.id, %fault, "a stored document cannot be read");
        Refusal::internal("a stored document cannot be read; the log says which")
    })
}

/// RFC 3339, UTC.
pub(super) fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.0).map_or_else(|_| time.0.to_string(), |time| time.to_string())
}

/// The nearest of the names, as a sentence to hang on a refusal; empty where none is near.
pub(super) fn did_you_mean<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    /// Below this likeness a proposal confuses more than it helps.
    const ALIKE: f64 = 0.6;
    let lowered = wanted.to_lowercase();
    let mut near: Vec<(f64, &str)> = names
        .map(|name| (strsim::normalized_damerau_levenshtein(&lowered, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    near.sort_by(|left, right| right.0.total_cmp(&left.0).then_with(|| left.1.cmp(right.1)));
    let mut sentence = String::new();
    for (index, (_, name)) in near.iter().take(3).enumerate() {
        let link = if index == 0 { "; did you mean" } else { " or" };
        let _infallible = write!(sentence, "{link} `{name}`");
    }
    if !sentence.is_empty() {
        sentence.push('?');
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_stated_alphabet() {
        for good in ["a", "100", "Acme.Corp_1-x", &"x".repeat(128)] {
            assert_eq!(identifier("account", good).unwrap(), good);
        }
        for bad in ["", "a b", "a/b", "ä", ".", "..", "a\0", &"x".repeat(129)] {
            assert_eq!(identifier("account", bad).unwrap_err().status, StatusCode::BAD_REQUEST, "{bad:?}");
        }
    }

    #[test]
    fn names_lose_blanks_around_and_refuse_control_characters() {
        assert_eq!(name("account", "  Acme GmbH ").unwrap(), "Acme GmbH");
        assert!(name("account", " ").is_err());
        assert!(name("account", "a\u{1b}[31m").is_err());
        assert!(name("account", &"x".repeat(257)).is_err());
    }

    #[test]
    fn cursors_survive_the_round_trip_and_nothing_else_does() {
        for number in [0, 1, 4711, Number::MAX] {
            assert_eq!(parse_cursor(&cursor(number)), Some(number));
        }
        for bad in ["", "c", "7", "cx", "c-1", "c1ffffffff"] {
            assert_eq!(parse_cursor(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_nearest_names_come_first_and_far_ones_not_at_all() {
        let names = ["Termination", "Origination", "UC"];
        assert_eq!(did_you_mean("Terminatoin", names.into_iter()), "; did you mean `Termination`?");
        assert_eq!(did_you_mean("uc", names.into_iter()), "; did you mean `UC`?");
        assert_eq!(did_you_mean("Zebra", names.into_iter()), "");
    }

    #[test]
    fn quoting_escapes_what_would_steer_a_terminal() {
        assert_eq!(quoted("a\u{1b}b"), "`a\\u{1b}b`");
        assert!(quoted(&"x".repeat(500)).len() < 200);
    }
}
