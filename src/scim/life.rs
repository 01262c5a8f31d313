//! The life cycle of names: which unique keys a resource holds, and how a login may change.
//!
//! A username is the first `userName` and belongs to the person for ever, as does every later login. An e-mail address
//! belongs to one person at a time. An `externalId` is opaque text that means something to one connection only.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::connection::UsernameChange;
use super::error::ScimError;
use super::state::{GroupState, UserState};
use crate::domain::fold;
use crate::store::UniqueKey;

/// Values that the schemas declare unique, by attribute and organization.
const ATTRIBUTE_SCOPE: &str = "attribute ";
/// The scope of usernames and logins: the whole installation.
pub(super) const USERNAME_SCOPE: &str = "username";
/// The scope of e-mail addresses: the whole installation.
pub(super) const EMAIL_SCOPE: &str = "email";
/// What scopes of group names begin with; one for each organization.
const GROUP_NAME_SCOPE: &str = "group-name:";
/// What scopes of `externalId` begin with; one for each connection and type.
const EXTERNAL_USER_SCOPE: &str = "external:";
const EXTERNAL_GROUP_SCOPE: &str = "external-group:";

/// The longest `userName` in characters.
const LONGEST_NAME: usize = 320;
/// How many logins a person may have had. All stay reserved, so that there must be an end to them.
const MOST_LOGINS: usize = 100;

/// Characters that are not seen and would make two names of one: soft hyphens, joiners, marks of the writing direction,
/// fillers, selectors of variations, tags (Unicode's `Default_Ignorable_Code_Point`).
const INVISIBLE: [std::ops::RangeInclusive<char>; 16] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Whether this `userName` can be a login: something to read, nothing that cannot be seen, not too long. SCIM takes
/// whatever else an identity provider sends (Entra's guests carry `#EXT#`).
pub(super) fn check_user_name(name: &str) -> Result<(), ScimError> {
    if name.trim().is_empty() {
        return Err(ScimError::invalid_value("userName is empty; every person needs one"));
    }
    if name.chars().any(char::is_control) {
        return Err(ScimError::invalid_value("userName holds a control character; remove it"));
    }
    if name.trim() != name {
        return Err(ScimError::invalid_value("userName begins or ends with a blank; remove it"));
    }
    if name.chars().any(|c| INVISIBLE.iter().any(|range| range.contains(&c))) {
        return Err(ScimError::invalid_value("userName holds a character that cannot be seen; type the name anew"));
    }
    if name.chars().count() > LONGEST_NAME {
        return Err(ScimError::invalid_value(format!("userName is longer than {LONGEST_NAME} characters")));
    }
    Ok(())
}

/// Whether this is a username that operators may give (`domain.md` 1): letters, digits, `@ . _ -`, at most 100.
pub(super) fn check_own_username(name: &str) -> Result<(), ScimError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '_' | '-');
    if name.is_empty() || name.len() > 100 || !name.chars().all(fits) {
        return Err(ScimError::invalid_value(
            "userName must have 1 to 100 characters out of letters, digits, `@`, `.`, `_` and `-`",
        ));
    }
    Ok(())
}

/// Takes note of a changed `userName`. Another spelling of the same name is no change.
///
/// # Errors
/// `mutability` where the connection refuses changes, or after very many of them.
pub(super) fn change_login(
    state: &mut UserState,
    before: &str,
    after: &str,
    rule: UsernameChange,
) -> Result<(), ScimError> {
    let name = fold(after);
    if name == fold(before) {
        return Ok(());
    }
    match rule {
        UsernameChange::Alias => {}
        UsernameChange::Reject => {
            return Err(ScimError::mutability(
                "userName does not change on this connection; set its username_change to `alias` to allow other logins",
            ));
        }
    }
    if name != fold(&state.username) {
        state.logins.insert(name);
    }
    if state.logins.len() > MOST_LOGINS {
        return Err(ScimError::mutability(format!("userName has changed {MOST_LOGINS} times; it stays as it is now")));
    }
    Ok(())
}

/// The address that counts: the primary one, else the first of type work, else the first.
pub(super) fn email(document: &Map<String, Value>) -> Option<&str> {
    let emails = document.get("emails").and_then(Value::as_array)?;
    let address = |email: &Value| email.get("value").and_then(Value::as_str).filter(|text| !text.is_empty()).is_some();
    let is_primary = |email: &&Value| email.get("primary").and_then(Value::as_bool) == Some(true);
    let is_work = |email: &&Value| {
        email.get("type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("work"))
    };
    let mut usable = emails.iter().filter(|email| address(email));
    let chosen = usable.clone().find(is_primary).or_else(|| usable.clone().find(is_work)).or_else(|| usable.next());
    chosen?.get("value")?.as_str()
}

/// The key of a username or login.
pub(super) fn username_key(name: &str) -> UniqueKey {
    UniqueKey { scope: USERNAME_SCOPE.to_owned(), value: fold(name) }
}

/// The key of a person's `externalId`.
pub(super) fn external_key(connection: &str, external_id: &str) -> UniqueKey {
    UniqueKey { scope: format!("{EXTERNAL_USER_SCOPE}{connection}"), value: external_id.to_owned() }
}

/// The key of a group's name.
pub(super) fn group_name_key(organization: &str, name: &str) -> UniqueKey {
    UniqueKey { scope: format!("{GROUP_NAME_SCOPE}{organization}"), value: fold(name) }
}

/// The key of a value that the schemas declare unique. Neither a path nor an id holds a blank.
pub(super) fn attribute_key(path: &str, organization: &str, value: String) -> UniqueKey {
    UniqueKey { scope: format!("{ATTRIBUTE_SCOPE}{path} {organization}"), value }
}

/// Everything that nobody else may have while this person has it. A deleted one keeps names and externalIds,
/// which a later create finds it by, and gives the e-mail address back.
pub(super) fn user_keys(document: &Map<String, Value>, state: &UserState, deleted: bool) -> Vec<UniqueKey> {
    let mut keys = vec![username_key(&state.username)];
    let reserved =
        state.logins.iter().map(|login| UniqueKey { scope: USERNAME_SCOPE.to_owned(), value: login.clone() });
    keys.extend(reserved);
    keys.extend(external_keys(EXTERNAL_USER_SCOPE, &state.external));
    if !deleted {
        let address = email(document).map(|email| UniqueKey { scope: EMAIL_SCOPE.to_owned(), value: fold(email) });
        keys.extend(address);
    }
    keys
}

/// Everything that no other group may have.
pub(super) fn group_keys(organization: &str, document: &Map<String, Value>, state: &GroupState) -> Vec<UniqueKey> {
    let name = document.get("displayName").and_then(Value::as_str);
    let mut keys: Vec<UniqueKey> = name.map(|name| group_name_key(organization, name)).into_iter().collect();
    keys.extend(external_keys(EXTERNAL_GROUP_SCOPE, &state.external));
    keys
}

fn external_keys<'a>(
    scope: &'static str,
    external: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = UniqueKey> + 'a {
    external.iter().map(move |(connection, id)| UniqueKey { scope: format!("{scope}{connection}"), value: id.clone() })
}

/// The 409 for a key that somebody else holds: names the attribute, never the person.
pub(super) fn taken(key: &UniqueKey) -> ScimError {
    let attribute = if key.scope == USERNAME_SCOPE {
        "userName"
    } else if key.scope == EMAIL_SCOPE {
        "emails"
    } else if key.scope.starts_with(GROUP_NAME_SCOPE) {
        "displayName"
    } else if let Some(declared) = key.scope.strip_prefix(ATTRIBUTE_SCOPE) {
        declared.split(' ').next().unwrap_or_default()
    } else {
        "externalId"
    };
    ScimError::uniqueness(format!("{attribute} is in use already; look the resource up, or send another {attribute}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn emails(value: Value) -> Map<String, Value> {
        json!({ "emails": value }).as_object().unwrap().clone()
    }

    #[test]
    fn the_address_that_counts() {
        let cases = [
            (json!([{"value": "a"}, {"value": "b", "type": "work"}, {"value": "c", "primary": true}]), Some("c")),
            (json!([{"value": "a"}, {"value": "b", "type": "Work"}]), Some("b")),
            (json!([{"value": "a"}, {"value": "b", "type": "home"}]), Some("a")),
            (json!([{"type": "work", "primary": true}, {"value": "a"}]), Some("a")),
            (json!([{"value": ""}]), None),
            (json!([]), None),
        ];
        for (value, chosen) in cases {
            assert_eq!(email(&emails(value.clone())), chosen, "{value}");
        }
    }

    #[test]
    fn names_stay_reserved_and_addresses_do_not() {
        let mut state = UserState { username: "JDoe".into(), ..UserState::default() };
        state.external.insert("c1".into(), "00u1".into());
        change_login(&mut state, "JDoe", "jane", UsernameChange::Alias).unwrap();
        change_login(&mut state, "jane", "jdoe", UsernameChange::Alias).unwrap();
        let document = emails(json!([{"value": "J@X.example"}]));
        let scopes = |deleted| {
            let mut keys: Vec<String> = user_keys(&document, &state, deleted)
                .into_iter()
                .map(|key| format!("{}={}", key.scope, key.value))
                .collect();
            keys.sort();
            keys
        };
        assert_eq!(scopes(false), ["email=j@x.example", "external:c1=00u1", "username=jane", "username=jdoe"]);
        assert_eq!(scopes(true), ["external:c1=00u1", "username=jane", "username=jdoe"]);
    }

    #[test]
    fn a_login_changes_by_rule_and_not_for_ever() {
        let mut state = UserState { username: "a".into(), ..UserState::default() };
        assert!(change_login(&mut state, "a", "A", UsernameChange::Reject).is_ok(), "another spelling is no change");
        let refused = change_login(&mut state, "a", "b", UsernameChange::Reject).unwrap_err();
        assert_eq!(refused.scim_type, Some("mutability"));
        for n in 0..MOST_LOGINS {
            change_login(&mut state, "a", &format!("b{n}"), UsernameChange::Alias).unwrap();
        }
        assert!(change_login(&mut state, "a", "c", UsernameChange::Alias).is_err());
    }

    #[test]
    fn scim_takes_more_names_than_operators_may_give() {
        for name in ["jdoe", "a_b#EXT#@x.onmicrosoft.com", "Jürgen"] {
            assert!(check_user_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            " ",
            "a ",
            "\u{a0}a",
            "a\u{7}b",
            "a\u{200b}b",
            "\u{202e}a",
            "a\u{feff}",
            "a\u{ad}b",
            &"x".repeat(LONGEST_NAME + 1),
        ] {
            assert!(check_user_name(name).is_err(), "{name}");
        }
        assert!(check_own_username("J.Doe_1-x@y.example").is_ok());
        for name in ["", "a#b", "Jürgen", "a b", &"x".repeat(101)] {
            assert!(check_own_username(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_conflict_names_the_attribute() {
        let key = |scope: &str| UniqueKey { scope: scope.into(), value: "secret".into() };
        let cases = [
            ("username", "userName"),
            ("email", "emails"),
            ("external:c1", "externalId"),
            ("external-group:c1", "externalId"),
            ("group-name:acme", "displayName"),
            ("attribute urn:x:User:badge acme", "urn:x:User:badge "),
        ];
        for (scope, attribute) in cases {
            let error = taken(&key(scope));
            assert!(error.detail.starts_with(attribute) && !error.detail.contains("secret"), "{}", error.detail);
        }
    }
}
