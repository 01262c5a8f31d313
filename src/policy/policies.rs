//! The Cedar files of a bundle: parsed, named by `@id`, with the annotations that reasons are made of.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cedar_policy::{Effect, Policy, PolicyId, PolicySet};

use super::Diagnostic;
use super::analysis::{self, Analysis};
use super::conditions::Condition;
use super::source::Files;
use crate::domain::Reason;

/// A policy with what its annotations and its conditions say.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    /// The policy under its `@id`.
    pub(super) policy: Policy,
    /// The `@id`.
    pub(super) id: Arc<str>,
    /// Permit or forbid.
    pub(super) effect: Effect,
    /// `@reason`, or `policy` and `forbidden`.
    pub(super) reason: Reason,
    /// `@missing`: what a default deny says where this permit is the nearest.
    pub(super) missing: Option<Reason>,
    /// `@title`.
    pub(super) title: Option<Arc<str>>,
    /// `@advice`.
    pub(super) advice: Option<Arc<str>>,
    /// What its conditions ask and read.
    pub(super) analysis: Analysis,
    /// The file.
    pub(super) file: String,
    /// The conditions one by one, taken apart when somebody asks.
    conditions: OnceLock<Option<Arc<[Condition]>>>,
}

impl Loaded {
    /// What must hold for the policy to speak. `None` where it cannot be taken apart: then only the whole can be asked.
    pub(super) fn conditions(&self) -> Option<&[Condition]> {
        let known = self.conditions.get_or_init(|| Some(Condition::all_of(&self.policy.to_json().ok()?)?.into()));
        known.as_deref()
    }
}

/// Reads every `*.cedar` file; answers every fault at once.
pub(super) fn read(files: &Files) -> (Vec<Loaded>, Vec<Diagnostic>) {
    let mut all: Vec<Loaded> = Vec::new();
    let mut faults = Vec::new();
    let mut seen: HashMap<Arc<str>, String> = HashMap::new();
    for (file, text) in files.iter().filter(|(name, _)| name.ends_with(".cedar")) {
        let set: PolicySet = match text.parse() {
            Ok(set) => set,
            Err(errors) => {
                let errors: &cedar_policy::ParseErrors = &errors;
                faults.extend(errors.iter().map(|error| Diagnostic::cedar(file, text, error)));
                continue;
            }
        };
        if let Some(template) = set.templates().next() {
            let message = format!("`{}` is a template; templates are linked by no bundle file yet", template.id());
            faults.push(Diagnostic::file(file, &message));
        }
        let mut policies: Vec<&Policy> = set.policies().collect();
        // Cedar numbers the policies of a text in their order: policy0, policy1, ...
        policies.sort_by_key(|policy| number(policy.id()));
        for policy in policies {
            match load(file, policy) {
                Ok(loaded) => {
                    if let Some(before) = seen.insert(Arc::clone(&loaded.id), file.clone()) {
                        let message = format!("the policy id `{}` stands twice (before in {before})", loaded.id);
                        faults.push(Diagnostic::file(file, &message));
                    }
                    all.push(loaded);
                }
                Err(message) => faults.push(Diagnostic::file(file, &message)),
            }
        }
    }
    (all, faults)
}

fn number(id: &PolicyId) -> usize {
    let text: &str = id.as_ref();
    text.trim_start_matches("policy").parse().unwrap_or(usize::MAX)
}

fn load(file: &str, policy: &Policy) -> Result<Loaded, String> {
    let Some(id) = policy.annotation("id").filter(|id| !id.is_empty()) else {
        let ordinal = number(policy.id()) + 1;
        return Err(format!(
            "policy number {ordinal} of the file has no `@id(\"...\")`; answers and tests name policies by it"
        ));
    };
    let code = |key: &str| match policy.annotation(key) {
        None => Ok(None),
        Some(code) => Reason::parse(code).map(Some).ok_or_else(|| {
            let known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
            format!("policy `{id}`: `@{key}(\"{code}\")` is not a reason; known are {}", known.join(", "))
        }),
    };
    let effect = policy.effect();
    let reason = code("reason")?.unwrap_or(match effect {
        Effect::Permit => Reason::Policy,
        Effect::Forbid => Reason::Forbidden,
    });
    if reason.permits() != (effect == Effect::Permit) {
        return Err(format!("policy `{id}`: `@reason(\"{}\")` belongs to the other effect", reason.code()));
    }
    let missing = code("missing")?;
    if missing.is_some_and(Reason::permits) {
        return Err(format!("policy `{id}`: `@missing` names what a deny says, so a reason of a deny"));
    }
    let text = |key: &str| policy.annotation(key).filter(|text| !text.is_empty()).map(Arc::from);
    let json = policy.to_json().map_err(|error| format!("policy `{id}`: {error}"))?;
    Ok(Loaded {
        policy: policy.new_id(PolicyId::new(id)),
        id: id.into(),
        effect,
        reason,
        missing,
        title: text("title"),
        advice: text("advice"),
        analysis: analysis::analyse(policy, &json),
        file: file.to_owned(),
        conditions: OnceLock::new(),
    })
}
