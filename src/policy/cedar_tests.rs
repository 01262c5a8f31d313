//! Test cases as Cedar's own command line reads them (`cedar run-tests`), run on a bundle's policies by plain Cedar:
//! JSON, each with a request, its entities, the expected decision, reasons and number of errors.

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, Schema};
use serde::Deserialize;
use serde_json::Value;

use super::Diagnostic;
use super::load::Bundle;

#[derive(Deserialize)]
struct CedarCase {
    name: Option<String>,
    request: CedarRequest,
    #[serde(default)]
    entities: Value,
    decision: Expected,
    #[serde(default)]
    reason: Vec<String>,
    #[serde(default)]
    num_errors: usize,
}

#[derive(Deserialize)]
struct CedarRequest {
    principal: String,
    action: String,
    resource: String,
    #[serde(default)]
    context: Value,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CedarTrial {
    /// Its name, or its place in the file.
    pub name: String,
    /// What differs; empty where it agrees.
    pub faults: Vec<String>,
    /// The policies that determined the answer, sorted.
    pub policies: Vec<String>,
}

impl Bundle {
    /// Runs the cases of one file.
    ///
    /// # Errors
    /// Where the file cannot be read as such cases.
    pub fn run_cedar_tests(&self, file: &str, text: &str) -> Result<Vec<CedarTrial>, Diagnostic> {
        let unread = |message: String| Diagnostic::file(file, &message);
        let cases: Vec<CedarCase> = serde_json::from_str(text).map_err(|error| unread(error.to_string()))?;
        let (schema, _) =
            Schema::from_cedarschema_str(self.schema()).map_err(|error| unread(format!("the schema: {error}")))?;
        let set = PolicySet::from_policies(self.policies.iter().map(|loaded| loaded.policy.clone()))
            .map_err(|error| unread(error.to_string()))?;
        Ok(cases.iter().enumerate().map(|(at, case)| case.run(at, &set, &schema)).collect())
    }
}

impl CedarCase {
    fn run(&self, at: usize, set: &PolicySet, schema: &Schema) -> CedarTrial {
        let name = self.name.clone().unwrap_or_else(|| format!("case {}", at + 1));
        match self.judge(set, schema) {
            Ok((faults, policies)) => CedarTrial { name, faults, policies },
            Err(fault) => CedarTrial { name, faults: vec![fault], policies: Vec::new() },
        }
    }

    fn judge(&self, set: &PolicySet, schema: &Schema) -> Result<(Vec<String>, Vec<String>), String> {
        let uid = |text: &str| text.parse::<EntityUid>().map_err(|error| format!("{text}: {error}"));
        let action = uid(&self.request.action)?;
        let given = &self.request.context;
        let given = if given.is_null() { Value::Object(serde_json::Map::new()) } else { given.clone() };
        let context =
            Context::from_json_value(given, Some((schema, &action))).map_err(|error| format!("context: {error}"))?;
        let (principal, resource) = (uid(&self.request.principal)?, uid(&self.request.resource)?);
        let request = Request::new(principal, action, resource, context, Some(schema))
            .map_err(|error| format!("request: {error}"))?;
        let listed = if self.entities.is_null() { Value::Array(Vec::new()) } else { self.entities.clone() };
        let entities = Entities::from_json_value(listed, Some(schema)).map_err(|error| format!("entities: {error}"))?;
        let response = Authorizer::new().is_authorized(&request, set, &entities);
        let mut policies: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        let mut faults = Vec::new();
        let (wanted, right) = match self.decision {
            Expected::Allow => ("allow", response.decision() == Decision::Allow),
            Expected::Deny => ("deny", response.decision() == Decision::Deny),
        };
        if !right {
            faults.push(format!("decision: expected {wanted}, got the other ({})", policies.join(", ")));
        }
        let missing: Vec<&str> =
            self.reason.iter().map(String::as_str).filter(|id| !policies.iter().any(|known| known == id)).collect();
        if !missing.is_empty() {
            faults.push(format!("reason: {} did not determine the answer", missing.join(", ")));
        }
        let errors = response.diagnostics().errors().count();
        if errors != self.num_errors {
            faults.push(format!("errors: expected {}, got {errors}", self.num_errors));
        }
        Ok((faults, policies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Source;

    #[test]
    fn cases_of_cedars_own_form_run() {
        let bundle = Bundle::load(&Source::Shipped).expect("sound");
        let user = |methods: &str| {
            format!(
                r#"{{"uid": {{"type": "User", "id": "u"}}, "parents": [{{"type": "Role", "id": "Ordering"}}],
                "attrs": {{"username": "u", "administrationLevel": "Basic User", "accessMethods": {methods},
                "accounts": [{{"__entity": {{"type": "Account", "id": "100"}}}}], "hasAssignedRole": true,
                "organization": {{"__entity": {{"type": "Organization", "id": "acme"}}}}}}}}"#
            )
        };
        let case = |name: &str, methods: &str, expected: &str, reason: &str| {
            format!(
                r#"{{"name": "{name}", "request": {{"principal": "User::\"u\"", "action": "Action::\"createOrder\"",
                "resource": "Account::\"100\"", "context": {{"channel": "api",
                "now": {{"__extn": {{"fn": "datetime", "arg": "2026-01-01"}}}}}}}},
                "entities": [{}, {{"uid": {{"type": "Account", "id": "100"}}, "attrs": {{"products": []}}, "parents": []}}],
                "decision": "{expected}", "reason": [{reason}], "num_errors": 0}}"#,
                user(methods)
            )
        };
        let text = format!(
            "[{}, {}, {}]",
            case("permit", r#"["api"]"#, "allow", r#""ordering""#),
            case("forbid", r#"["dashboard"]"#, "deny", r#""access-method-api""#),
            case("wrong", r#"["api"]"#, "deny", r#""elsewhere""#),
        );
        let trials = bundle.run_cedar_tests("cases.json", &text).expect("cases");
        let faults: Vec<usize> = trials.iter().map(|trial| trial.faults.len()).collect();
        assert_eq!(faults, [0, 0, 2], "{trials:?}");
        assert!(bundle.run_cedar_tests("cases.json", "{}").is_err());
    }
}
