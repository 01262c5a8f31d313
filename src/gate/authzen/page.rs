//! Pages of search results, and the tokens that name the next one.
//!
//! A token holds the page's size and the place after the last result, sealed together with everything else that the
//! request said: whoever changes the request or the token gets a 400. Tokens are good for as long as the process
//! lives; a token is a place in an order, not a snapshot.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::request::Keys;
use crate::gate::json::{Members, member, object, text};
use crate::http::Refusal;

/// Results of a page where the request says nothing, and at most.
const LARGEST_PAGE: u32 = 1000;
/// The longest token that is looked at.
const LONGEST_TOKEN: usize = 4096;
const SEAL: usize = blake3::OUT_LEN;
const LIMIT: usize = size_of::<u32>();

/// Seals tokens.
pub(super) struct Sealer {
    key: [u8; blake3::KEY_LEN],
}

/// Which page a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// How many results at most.
    pub(super) limit: u32,
    /// The last result of the page before.
    pub(super) after: Option<String>,
}

impl Sealer {
    /// With a key that nobody can guess.
    pub(super) const fn new(key: [u8; blake3::KEY_LEN]) -> Self {
        Self { key }
    }

    /// The page that a request asks for.
    ///
    /// # Errors
    /// 400 where `page` cannot be read, where the token is not ours, or where it belongs to another request.
    pub(super) fn page(&self, search: &str, keys: &Keys<'_>, body: &Members) -> Result<Page, Refusal> {
        let Some(page) = object(body, "page", "page")? else { return Ok(Page { limit: LARGEST_PAGE, after: None }) };
        let limit = match member(page, "limit") {
            None => None,
            Some(given) => match given.as_u64().filter(|limit| *limit > 0) {
                Some(limit) => Some(u32::try_from(limit).unwrap_or(LARGEST_PAGE).min(LARGEST_PAGE)),
                None => return Err(Refusal::bad_request("`page.limit` must be a whole number above 0")),
            },
        };
        match text(page, "token", "page.token")? {
            None | Some("") => Ok(Page { limit: limit.unwrap_or(LARGEST_PAGE), after: None }),
            Some(token) => {
                let page = self.open(token, search, keys).ok_or_else(|| {
                    Refusal::bad_request(
                        "`page.token` does not belong to this request; send the request as it was, or begin anew",
                    )
                })?;
                if limit.is_some_and(|limit| limit != page.limit) {
                    return Err(Refusal::bad_request("`page.limit` must stay what it was on the first page"));
                }
                Ok(page)
            }
        }
    }

    /// The token for the page after this result.
    pub(super) fn next(&self, limit: u32, after: &str, search: &str, keys: &Keys<'_>) -> String {
        let mut bytes = Vec::with_capacity(SEAL + LIMIT + after.len());
        bytes.extend_from_slice(self.seal(limit, after, search, keys).as_bytes());
        bytes.extend_from_slice(&limit.to_be_bytes());
        bytes.extend_from_slice(after.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn open(&self, token: &str, search: &str, keys: &Keys<'_>) -> Option<Page> {
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (seal, rest) = bytes.split_first_chunk::<SEAL>()?;
        let (limit, after) = rest.split_first_chunk::<LIMIT>()?;
        let (limit, after) = (u32::from_be_bytes(*limit), std::str::from_utf8(after).ok()?);
        // Hashes compare in constant time.
        let ours = self.seal(limit, after, search, keys) == blake3::Hash::from_bytes(*seal);
        ours.then(|| Page { limit, after: Some(after.to_owned()) })
    }

    /// Over every part with its length before it, so that no two requests give the same bytes.
    fn seal(&self, limit: u32, after: &str, search: &str, keys: &Keys<'_>) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(search.as_bytes());
        part(&limit.to_be_bytes());
        part(after.as_bytes());
        for (name, members) in ["subject", "action", "resource", "context"].into_iter().zip(keys.parts()) {
            // The id of what is searched for is ignored, so it may change.
            let ignored = if search == name { &["id"][..] } else { &[] };
            let mut text = String::new();
            if let Some(members) = members {
                canonical_members(members, ignored, &mut text);
            }
            part(text.as_bytes());
        }
        hasher.finalize()
    }
}

/// Members in the order of their names: the order in which they were sent carries no meaning.
fn canonical_members(members: &Members, ignored: &[&str], out: &mut String) {
    let mut sorted: Vec<(&String, &Value)> =
        members.iter().filter(|(name, _)| !ignored.contains(&name.as_str())).collect();
    sorted.sort_by_key(|(name, _)| *name);
    out.push('{');
    for (name, value) in sorted {
        out.push_str(&Value::from(name.as_str()).to_string());
        out.push(':');
        canonical(value, out);
        out.push(',');
    }
    out.push('}');
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => canonical_members(members, &[], out),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(sealer: &Sealer, search: &str, body: &Value) -> Result<Page, String> {
        let body = body.as_object().unwrap();
        sealer.page(search, &Keys::read(body).unwrap(), body).map_err(|refusal| refusal.message)
    }

    fn token(sealer: &Sealer, search: &str, limit: u32, body: &Value) -> String {
        sealer.next(limit, "alice", search, &Keys::read(body.as_object().unwrap()).unwrap())
    }

    #[test]
    fn a_token_opens_for_its_own_request_alone() {
        let sealer = Sealer::new([7; 32]);
        let request = |page: Value| {
            json!({"subject": {"type": "user", "id": "x"}, "action": {"name": "read",
            "properties": {"a": 1, "b": [{"c": 2, "d": 3}]}}, "resource": {"type": "record", "id": "1"}, "page": page})
        };
        let token = token(&sealer, "subject", 2, &request(json!({})));
        let second = Ok(Page { limit: 2, after: Some("alice".into()) });
        assert_eq!(page(&sealer, "subject", &request(json!({"token": token}))), second, "the limit may be left out");
        assert_eq!(page(&sealer, "subject", &request(json!({"token": token, "limit": 2}))), second);

        let mut moved = request(json!({"token": token}));
        moved["subject"] = json!({"id": "another, ignored", "type": "user"});
        moved["action"] = json!({"properties": {"b": [{"d": 3, "c": 2}], "a": 1}, "name": "read"});
        assert_eq!(page(&sealer, "subject", &moved), second, "order and the ignored id carry no meaning");

        assert!(page(&sealer, "subject", &request(json!({"token": token, "limit": 3}))).is_err());
        assert!(page(&sealer, "action", &request(json!({"token": token}))).is_err(), "another search");
        assert!(page(&Sealer::new([8; 32]), "subject", &request(json!({"token": token}))).is_err(), "another key");
        for (pointer, value) in [
            ("/subject/type", json!("group")),
            ("/action/name", json!("write")),
            ("/action/properties/a", json!(2)),
            ("/resource/id", json!("2")),
            ("/context", json!({"account": "100"})),
        ] {
            let mut other = request(json!({"token": token}));
            match other.pointer_mut(pointer) {
                Some(place) => *place = value,
                None => other["context"] = value,
            }
            assert!(page(&sealer, "subject", &other).is_err(), "{pointer}");
        }
    }

    #[test]
    fn no_bit_of_a_token_can_be_changed() {
        let sealer = Sealer::new([7; 32]);
        let body = json!({"subject": {"type": "user"}});
        let bytes = URL_SAFE_NO_PAD.decode(token(&sealer, "subject", 2, &body)).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[at / 8] ^= 1 << (at % 8);
            let forged = URL_SAFE_NO_PAD.encode(forged);
            let body = json!({"subject": {"type": "user"}, "page": {"token": forged}});
            assert!(page(&sealer, "subject", &body).is_err(), "bit {at}");
        }
        for forged in ["x", "alice", "AAAA", &"A".repeat(5000), "===="] {
            assert!(
                page(&sealer, "subject", &json!({"subject": {"type": "user"}, "page": {"token": forged}})).is_err()
            );
        }
    }

    #[test]
    fn limits_are_whole_numbers_and_bounded() {
        let sealer = Sealer::new([7; 32]);
        let limit = |limit: Value| page(&sealer, "subject", &json!({"page": {"limit": limit}})).map(|page| page.limit);
        assert_eq!(limit(json!(1)), Ok(1));
        assert_eq!(limit(json!(100_000_000_000_u64)), Ok(LARGEST_PAGE));
        assert_eq!(limit(json!(null)), Ok(LARGEST_PAGE));
        for wrong in [json!(0), json!(-1), json!(1.5), json!("1"), json!([])] {
            assert!(limit(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(page(&sealer, "subject", &json!({"page": 7})).is_err());
        assert!(page(&sealer, "subject", &json!({"page": {"token": 7}})).is_err());
        assert_eq!(page(&sealer, "subject", &json!({"page": {"token": ""}})).map(|page| page.after), Ok(None));
    }
}
