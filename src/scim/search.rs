//! Searches by POST (RFC 7644 section 3.4.3): the parameters of a list in a body, for filters that should not stand in
//! a URL. A search means what the same list by GET means, because it becomes one.

use serde_json::Value;

use super::caller::Caller;
use super::error::ScimError;
use super::list::Span;
use super::query::Listing;
use super::schema::{Tolerance, check_limits, kind_of};
use super::{Scim, json_body};
use crate::http::{Request, Response};

/// The URN of a search.
const SEARCH_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";

/// What a search may say.
const PARAMETERS: [&str; 8] =
    ["attributes", "excludedAttributes", "filter", "sortBy", "sortOrder", "startIndex", "count", "cursor"];

impl Scim {
    /// POST /Users/.search, /Groups/.search and /.search
    pub(super) async fn search(&self, caller: &Caller, span: Span, request: &Request) -> Result<Response, ScimError> {
        let pairs = pairs(&json_body(request)?, &caller.tolerance())?;
        self.listed(caller, span, &Listing::read(&pairs, self.page_sizes())?).await
    }
}

/// The parameters as a query would have them. Unknown members are passed over, as unknown parameters are.
fn pairs(body: &Value, tolerance: &Tolerance) -> Result<Vec<(String, String)>, ScimError> {
    check_limits(body)?;
    let members = body.as_object().ok_or_else(|| ScimError::invalid_syntax("the body must be a JSON object"))?;
    let schemas = members.get("schemas").and_then(Value::as_array);
    let named = schemas.is_some_and(|urns| urns.iter().any(|urn| urn.as_str() == Some(SEARCH_SCHEMA)));
    if !named && !tolerance.missing_schemas {
        return Err(ScimError::invalid_syntax(format!("`schemas` must be an array that holds {SEARCH_SCHEMA}")));
    }
    let mut pairs = Vec::new();
    for (name, value) in members {
        let Some(known) = PARAMETERS.iter().find(|known| known.eq_ignore_ascii_case(name)) else { continue };
        if pairs.iter().any(|(given, _)| given == known) {
            return Err(ScimError::invalid_syntax(format!("{known} is given twice, in different case")));
        }
        if let Some(text) = text(known, value)? {
            pairs.push(((*known).to_owned(), text));
        }
    }
    Ok(pairs)
}

/// A value as a query would have it; null is absent.
fn text(name: &str, value: &Value) -> Result<Option<String>, ScimError> {
    let wrong = || ScimError::invalid_value(format!("{name} cannot be {}; send it as a query would", kind_of(value)));
    let is_list = name.ends_with("ttributes");
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) if name == "count" || name == "startIndex" => Ok(Some(number.to_string())),
        Value::Array(names) if is_list => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            Ok(Some(names.ok_or_else(wrong)?.join(",")))
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_says_what_a_query_says() {
        let body = json!({"schemas": [SEARCH_SCHEMA], "Attributes": ["userName", "name.givenName"], "count": 3,
            "startIndex": "2", "filter": "title pr", "sortBy": null, "cursor": "", "more": {}});
        let pairs = pairs(&body, &Tolerance::STRICT).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let names = ("attributes", "userName,name.givenName");
        assert_eq!(pairs, [names, ("count", "3"), ("startIndex", "2"), ("filter", "title pr"), ("cursor", "")]);
    }

    #[test]
    fn nonsense_is_refused() {
        for (body, word) in [
            (json!([]), "invalidSyntax"),
            (json!({"count": 1}), "invalidSyntax"),
            (json!({"schemas": [SEARCH_SCHEMA], "count": 1, "COUNT": 2}), "invalidSyntax"),
            (json!({"schemas": [SEARCH_SCHEMA], "filter": {"a": 1}}), "invalidValue"),
            (json!({"schemas": [SEARCH_SCHEMA], "filter": 1}), "invalidValue"),
            (json!({"schemas": [SEARCH_SCHEMA], "attributes": [1]}), "invalidValue"),
            (json!({"schemas": [SEARCH_SCHEMA], "sortBy": ["a"]}), "invalidValue"),
        ] {
            assert_eq!(pairs(&body, &Tolerance::STRICT).unwrap_err().scim_type, Some(word), "{body}");
        }
        assert!(pairs(&json!({"count": 1}), &Tolerance::GENERIC).is_ok());
    }
}
