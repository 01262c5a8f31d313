//! `bulkId` references (RFC 7644 section 3.7.2): where they stand and how an id takes their place.
//!
//! A whole text `bulkId:NAME` anywhere in the data (a member's or manager's `value`, a bare id), the end of a `$ref`, a
//! quoted literal in the `path` of a PATCH operation, and the last segment of the operation's own path.

use std::collections::HashMap;

use serde_json::Value;

use super::job::Item;

/// What a reference begins with.
const PREFIX: &str = "bulkId:";

/// The names that an operation refers to.
pub(super) fn names(item: &Item) -> Vec<String> {
    let mut found: Vec<String> = own_path(&item.path).into_iter().map(str::to_owned).collect();
    if let Some(data) = &item.data {
        let mut rest = vec![("", data)];
        while let Some((key, value)) = rest.pop() {
            match value {
                Value::String(text) => found.extend(in_text(key, text).into_iter().map(str::to_owned)),
                Value::Array(elements) => rest.extend(elements.iter().map(|element| (key, element))),
                Value::Object(members) => rest.extend(members.iter().map(|(key, value)| (key.as_str(), value))),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
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
}
