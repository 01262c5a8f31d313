//! The Cedar files of a bundle: parsed, named by `@id`, with the annotations that reasons are made of.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cedar_policy::{Effect, EntityUid, Policy, PolicyId, PolicySet, SlotId, Template};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::analysis::{self, Analysis};
use super::conditions::Condition;
use super::lint::Lint;
use super::source::Files;
use super::{Diagnostic, causes};
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
    /// What it says where it speaks ([`Self::says`]).
    pub(super) sentence: Arc<str>,
    /// What its conditions ask and read.
    pub(super) analysis: Analysis,
    /// `@accept`: the finding that is meant.
    pub(super) accepts: Option<Lint>,
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

    /// The sentence of a policy that spoke, or whose saying is the nearest.
    pub(super) fn says(&self, reason: Reason) -> String {
        let title = self.title.as_deref().unwrap_or(&self.id).trim_end_matches('.');
        if reason == Reason::PolicyError {
            return format!("the policy `{}` could not be evaluated, so nobody is let in", self.id);
        }
        match self.advice.as_deref() {
            Some(advice) if !reason.permits() => format!("{title}. {advice}"),
            _ => title.to_owned(),
        }
    }
}

/// All policies of a bundle.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// Each policy by itself, links of templates among them.
    pub(super) all: Vec<Loaded>,
    /// The same as Cedar keeps them, templates and links apart: what is validated.
    pub(super) set: PolicySet,
    /// Where templates stand: their ids to files.
    pub(super) templates: HashMap<String, String>,
    /// Where policies stand, also those that are not among `all` since something is wrong with them.
    pub(super) files: HashMap<String, String>,
}

/// The file that links templates.
pub(super) const LINKS: &str = "links.json";

/// Reads every `*.cedar` file and `links.json`; answers every fault at once.
pub(super) fn read(files: &Files) -> (Policies, Vec<Diagnostic>) {
    let mut reading = Reading::default();
    for (file, text) in files.iter().filter(|(name, _)| name.ends_with(".cedar")) {
        match text.parse::<PolicySet>() {
            Ok(set) => reading.file(file, text, &set),
            Err(errors) => {
                let errors: &cedar_policy::ParseErrors = &errors;
                reading.faults.extend(errors.iter().map(|error| Diagnostic::cedar(file, text, error)));
            }
        }
    }
    if let Some(text) = files.get(LINKS) {
        reading.links(text);
    }
    (reading.policies, reading.faults)
}

/// One link of a template, in Cedar's own JSON form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Link {
    template_id: String,
    new_id: String,
    values: HashMap<String, serde_json::Value>,
}

#[derive(Default)]
struct Reading {
    policies: Policies,
    faults: Vec<Diagnostic>,
    /// Ids to the places where they stand.
    seen: HashMap<String, String>,
}

impl Reading {
    fn file(&mut self, file: &str, text: &str, set: &PolicySet) {
        // Cedar numbers the policies of a text in their order: policy0, policy1, ...
        let mut policies: Vec<(usize, Source<'_>)> = Vec::new();
        policies.extend(set.policies().map(|policy| (number(policy.id()), Source::Policy(policy))));
        policies.extend(set.templates().map(|template| (number(template.id()), Source::Template(template))));
        policies.sort_by_key(|(number, _)| *number);
        let mut cursor = 0;
        for (number, policy) in policies {
            let words = policy.text();
            let offset = text.get(cursor..).and_then(|rest| rest.find(&words)).map_or(cursor, |at| cursor + at);
            cursor = offset + words.len();
            let here = |message: &str| Diagnostic::at(file, text, offset, message).spanning(words.lines().next());
            let id = match policy.id() {
                Ok(id) => match self.seen.insert(id.to_owned(), file.to_owned()) {
                    None => Ok(id),
                    Some(before) => {
                        let message = format!("the policy id `{id}` stands twice (before in {before})");
                        Err(here(&message).with_help("give each policy an id of its own"))
                    }
                },
                Err(message) => Err(here(&message).with_help("write @id(\"a-name\") above it")),
            };
            let id = match id {
                Ok(id) => id.to_owned(),
                // Validated all the same, so that whatever else is wrong with it is told in the same run.
                Err(fault) => {
                    self.faults.push(fault);
                    format!("number {} of {file}", number + 1)
                }
            };
            let taken = match policy {
                Source::Policy(policy) => self.policy(file, policy, &id),
                Source::Template(template) => {
                    self.policies.templates.insert(id.clone(), file.to_owned());
                    let added = self.policies.set.add_template(template.new_id(PolicyId::new(&id)));
                    added.map_err(|error| error.to_string())
                }
            };
            if let Err(message) = taken {
                self.faults.push(here(&message));
            }
        }
    }

    fn policy(&mut self, file: &str, policy: &Policy, id: &str) -> Result<(), String> {
        let policy = policy.new_id(PolicyId::new(id));
        self.policies.set.add(policy.clone()).map_err(|error| error.to_string())?;
        self.policies.files.insert(id.to_owned(), file.to_owned());
        self.policies.all.push(load(file, &policy, id)?);
        Ok(())
    }

    fn links(&mut self, text: &str) {
        let items: Vec<&RawValue> = match serde_json::from_str(text) {
            Ok(items) => items,
            Err(error) => return self.faults.push(Diagnostic::json(LINKS, text, &error).with_help(LINK_HELP)),
        };
        for item in items {
            if let Err(message) = self.link(item) {
                self.faults.push(Diagnostic::part(LINKS, text, item.get(), &message).with_help(LINK_HELP));
            }
        }
    }

    fn link(&mut self, item: &RawValue) -> Result<(), String> {
        let link: Link = serde_json::from_str(item.get()).map_err(|error| error.to_string())?;
        let Link { template_id, new_id, values } = link;
        let Some(file) = self.policies.templates.get(&template_id).cloned() else {
            return Err(format!("no template is called `{template_id}`"));
        };
        if let Some(before) = self.seen.insert(new_id.clone(), LINKS.to_owned()) {
            return Err(format!("the policy id `{new_id}` stands twice (before in {before})"));
        }
        let mut slots = HashMap::new();
        for (slot, value) in values {
            let slot = match slot.as_str() {
                "?principal" => SlotId::principal(),
                "?resource" => SlotId::resource(),
                other => return Err(format!("`{other}` is no slot; there are ?principal and ?resource")),
            };
            slots.insert(slot, EntityUid::from_json(value).map_err(|error| causes(&error))?);
        }
        let id = PolicyId::new(&new_id);
        let linked = self.policies.set.link(PolicyId::new(&template_id), id.clone(), slots);
        linked.map_err(|error| causes(&error))?;
        let policy = self.policies.set.policy(&id).ok_or("the link was lost")?;
        self.policies.files.insert(new_id.clone(), file.clone());
        self.policies.all.push(load(&file, &unlinked(policy)?, &new_id)?);
        Ok(())
    }
}

const LINK_HELP: &str = "write {\"templateId\": \"…\", \"newId\": \"…\", \"values\": {\"?principal\": {\"type\": \"User\", \"id\": \"…\"}}}";

/// What one statement of a file is.
#[derive(Clone, Copy)]
enum Source<'a> {
    Policy(&'a Policy),
    Template(&'a Template),
}

impl<'a> Source<'a> {
    fn text(self) -> String {
        match self {
            Self::Policy(policy) => policy.to_cedar().unwrap_or_default(),
            Self::Template(template) => template.to_cedar(),
        }
    }

    fn id(self) -> Result<&'a str, String> {
        let (id, ordinal) = match self {
            Self::Policy(policy) => (policy.annotation("id"), number(policy.id()) + 1),
            Self::Template(template) => (template.annotation("id"), number(template.id()) + 1),
        };
        id.filter(|id| !id.is_empty()).ok_or_else(|| {
            format!("policy number {ordinal} of the file has no `@id(\"...\")`; answers and tests name policies by it")
        })
    }
}

/// A linked policy as one of its own, which can stand in any set.
pub(super) fn unlinked(policy: &Policy) -> Result<Policy, String> {
    let json = policy.to_json().map_err(|error| error.to_string())?;
    Policy::from_json(Some(policy.id().clone()), json).map_err(|error| error.to_string())
}

fn number(id: &PolicyId) -> usize {
    let text: &str = id.as_ref();
    text.trim_start_matches("policy").parse().unwrap_or(usize::MAX)
}

fn load(file: &str, policy: &Policy, id: &str) -> Result<Loaded, String> {
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
    let accepts = policy.annotation("accept").map(Lint::accepted).transpose();
    let accepts = accepts.map_err(|fault| format!("policy `{id}`: {fault}"))?;
    let text = |key: &str| policy.annotation(key).filter(|text| !text.is_empty()).map(Arc::from);
    let json = policy.to_json().map_err(|error| format!("policy `{id}`: {error}"))?;
    let mut loaded = Loaded {
        policy: policy.clone(),
        id: id.into(),
        effect,
        reason,
        missing,
        title: text("title"),
        advice: text("advice"),
        sentence: Arc::default(),
        analysis: analysis::analyse(policy, &json),
        accepts,
        file: file.to_owned(),
        conditions: OnceLock::new(),
    };
    loaded.sentence = loaded.says(reason).into();
    Ok(loaded)
}
