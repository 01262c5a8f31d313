//! `bulkId` references (RFC 7644 section 3.7.2): where they stand and how an id takes their place.
//!
//! A whole text `bulkId:NAME` anywhere in the data (a member's or manager's `value`, a bare id), the end of a `$ref`, a
//! quoted literal in the `path` of a PATCH operation, and the last segment of the operation's own path.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::job::Item;

/// What a reference begins with.
const PREFIX: &str = "bulkId:";

/// The names that an operation refers to.
pub(super) fn names(item: &Item) -> Vec<String> {
    let mut found: Vec<String> = own_path(&item.path).into_iter().map(str::to_owned).collect();
    found.extend(item.data.iter().flat_map(|data| in_value("", data)));
    found
}

/// The names that a create cannot do without: the members of a group. A ring of these is a group that contains itself.
pub(super) fn firm_names(item: &Item) -> Vec<String> {
    let members = item.data.as_ref().and_then(Value::as_object).into_iter().flatten();
    let members = members.filter(|(key, _)| is_membership(item, key));
    members.flat_map(|(key, value)| in_value(key, value)).collect()
}

/// Takes out of a create whatever refers to one of these names, the members of a group aside. What is taken out can be
/// added to the resource afterwards, as the value of a PATCH operation without a path.
pub(super) fn take_out(item: &mut Item, names: &[&str]) -> Map<String, Value> {
    let refers = |key: &str, value: &Value| in_value(key, value).iter().any(|name| names.contains(&name.as_str()));
    let mut taken = Map::new();
    let group = is_group(item);
    let Some(Value::Object(data)) = &mut item.data else { return taken };
    let keys: Vec<String> = data.keys().cloned().collect();
    for key in keys.into_iter().filter(|key| !(group && key.eq_ignore_ascii_case("members"))) {
        let extends = key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:"));
        match data.get_mut(&key) {
            Some(Value::Object(own)) if extends => {
                let (out, kept): (Map<String, Value>, Map<String, Value>) =
                    std::mem::take(own).into_iter().partition(|(key, value)| refers(key, value));
                *own = kept;
                if own.is_empty() {
                    data.shift_remove(&key);
                }
                if !out.is_empty() {
                    taken.insert(key, Value::Object(out));
                }
            }
            Some(value) if refers(&key, value) => {
                taken.extend(data.shift_remove_entry(&key));
            }
            Some(_) | None => {}
        }
    }
    taken
}

fn is_membership(item: &Item, key: &str) -> bool {
    is_group(item) && key.eq_ignore_ascii_case("members")
}

fn is_group(item: &Item) -> bool {
    item.path.trim_matches('/').eq_ignore_ascii_case("Groups")
}

fn in_value(key: &str, value: &Value) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), vec![(key, value)]);
    while let Some((key, value)) = rest.pop() {
        match value {
            Value::String(text) => found.extend(in_text(key, text).into_iter().map(str::to_owned)),
            Value::Array(elements) => rest.extend(elements.iter().map(|element| (key, element))),
            Value::Object(members) => rest.extend(members.iter().map(|(key, value)| (key.as_str(), value))),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}

/// Puts ids in the place of every reference to a name that has one.
pub(super) fn resolve(item: &mut Item, ids: &HashMap<String, String>) {
    if let Some((name, id)) = own_path(&item.path).and_then(|name| ids.get_key_value(name)) {
        item.path = item.path.replace(&format!("/{PREFIX}{name}"), &format!("/{id}"));
    }
    if let Some(data) = &mut item.data {
        let mut rest = vec![(String::new(), data)];
        while let Some((key, value)) = rest.pop() {
            match value {
                Value::String(text) => resolve_text(&key, text, ids),
                Value::Array(elements) => rest.extend(elements.iter_mut().map(|element| (key.clone(), element))),
                Value::Object(members) => rest.extend(members.iter_mut().map(|(key, value)| (key.clone(), value))),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
    }
}

fn own_path(path: &str) -> Option<&str> {
    path.rsplit_once('/')?.1.strip_prefix(PREFIX)
}

fn in_text<'t>(key: &str, text: &'t str) -> Vec<&'t str> {
    if let Some(name) = text.strip_prefix(PREFIX) {
        return vec![name];
    }
    match key {
        "$ref" => own_path(text).into_iter().collect(),
        "path" => {
            // Every second piece stands within quotation marks; a bulkId holds none.
            text.split('"').skip(1).step_by(2).filter_map(|literal| literal.strip_prefix(PREFIX)).collect()
        }
        _ => Vec::new(),
    }
}

fn resolve_text(key: &str, text: &mut String, ids: &HashMap<String, String>) {
    for (name, id) in in_text(key, &text.clone()).into_iter().filter_map(|name| ids.get_key_value(name)) {
        if text.strip_prefix(PREFIX) == Some(name) {
            id.clone_into(text);
        } else if key == "$ref" {
            *text = text.replace(&format!("/{PREFIX}{name}"), &format!("/{id}"));
        } else {
            *text = text.replace(&format!("\"{PREFIX}{name}\""), &format!("\"{id}\""));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::Method;

    #[test]
    fn references_are_found_and_resolved_wherever_they_are_legal() {
        let mut item = Item {
            method: Method::PATCH,
            path: "/Groups/bulkId:g".into(),
            bulk_id: None,
            version: None,
            data: Some(json!({"Operations": [
                {"op": "remove", "path": "members[value eq \"bulkId:a\" or value eq \"bulkId:ab\"]"},
                {"op": "add", "path": "members", "value": [{"value": "bulkId:a", "$ref": "../Users/bulkId:a"}, "bulkId:b"]},
                {"op": "replace", "value": {"urn:x:manager.value": "bulkId:b", "title": "about bulkId:a", "n": 1}},
            ]})),
        };
        let mut found = names(&item);
        found.sort();
        assert_eq!(found, ["a", "a", "a", "ab", "b", "b", "g"]);
        let ids = [("a", "1"), ("b", "2"), ("g", "3")].map(|(name, id)| (name.to_owned(), id.to_owned()));
        resolve(&mut item, &ids.into_iter().collect());
        assert_eq!(item.path, "/Groups/3");
        let expected = json!({"Operations": [
            {"op": "remove", "path": "members[value eq \"1\" or value eq \"bulkId:ab\"]"},
            {"op": "add", "path": "members", "value": [{"value": "1", "$ref": "../Users/1"}, "2"]},
            {"op": "replace", "value": {"urn:x:manager.value": "2", "title": "about bulkId:a", "n": 1}},
        ]});
        assert_eq!(item.data, Some(expected));
        assert_eq!(names(&item), ["ab"]);
    }

    #[test]
    fn what_can_be_added_later_is_taken_out_of_a_create() {
        let create = |path: &str, data: Value| Item {
            method: Method::POST,
            path: path.into(),
            bulk_id: Some("own".into()),
            version: None,
            data: Some(data),
        };
        let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        let mut user = create(
            "/users",
            json!({"userName": "a", "x": ["bulkId:b"], "y": "bulkId:other",
            (urn): {"department": "D", "manager": {"value": "bulkId:b", "displayName": "B"}}}),
        );
        assert!(firm_names(&user).is_empty());
        let taken = take_out(&mut user, &["b"]);
        let manager = json!({"value": "bulkId:b", "displayName": "B"});
        assert_eq!(Value::Object(taken), json!({"x": ["bulkId:b"], (urn): {"manager": manager}}));
        assert_eq!(user.data, Some(json!({"userName": "a", "y": "bulkId:other", (urn): {"department": "D"}})));

        let data = json!({"displayName": "g", "Members": [{"value": "bulkId:b"}], "z": "bulkId:b"});
        let mut group = create("/Groups", data);
        assert_eq!(firm_names(&group), ["b"]);
        assert_eq!(Value::Object(take_out(&mut group, &["b"])), json!({"z": "bulkId:b"}), "members stay");
    }
}
