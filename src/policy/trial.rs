//! Decision cases: questions with the answers they must get. One format for `policies/tests`, for the product's own
//! cases and for the demo. This file reads and judges; whoever can decide runs them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Diagnostic;

/// One file of cases with its accounts, groups and people.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// The file's name.
    #[serde(skip)]
    pub file: String,
    /// Other files of the `tests` folder whose accounts, groups and people are here, too.
    #[serde(default)]
    pub include: Vec<String>,
    /// Accounts by id.
    #[serde(default)]
    pub accounts: BTreeMap<String, AccountCase>,
    /// Groups by display name.
    #[serde(default)]
    pub groups: BTreeMap<String, GroupCase>,
    /// People by username.
    #[serde(default)]
    pub people: BTreeMap<String, PersonCase>,
    /// The questions.
    #[serde(default, rename = "case")]
    pub cases: Vec<Case>,
}

/// An account of a case file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountCase {
    /// Product names; `*` means every product of the catalogue.
    pub products: Vec<String>,
}

/// A group of a case file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupCase {
    /// Roles that members gain.
    pub roles: Vec<String>,
    /// Accounts that members gain.
    pub accounts: Vec<String>,
}

/// A person of a case file. What is left out: an active Basic User for the API alone, on account 100, no role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PersonCase {
    /// `Basic User` or `Account Admin`.
    pub level: String,
    /// `dashboard`, `api`.
    pub methods: Vec<String>,
    /// Role names.
    pub roles: Vec<String>,
    /// Account ids.
    pub accounts: Vec<String>,
    /// Display names of groups.
    pub groups: Vec<String>,
    /// Not deactivated.
    pub active: bool,
    /// Locked by an administrator.
    pub locked: bool,
    /// Days since the password was set.
    pub password_age_days: Option<i64>,
}

impl Default for PersonCase {
    fn default() -> Self {
        Self {
            level: "Basic User".into(),
            methods: vec!["api".into()],
            roles: Vec::new(),
            accounts: vec!["100".into()],
            groups: Vec::new(),
            active: true,
            locked: false,
            password_age_days: None,
        }
    }
}

/// Who asks: a name of the file's people, or a person described on the spot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Asking {
    /// By name.
    Named(String),
    /// On the spot.
    Inline(Box<PersonCase>),
}

/// The resource of a question by action, or an entity that asks.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceCase {
    /// Entity type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Id.
    pub id: String,
    /// What the question says of it.
    #[serde(default)]
    pub properties: toml::Table,
}

/// One question with its expected answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Who asks.
    pub person: Option<Asking>,
    /// Or a username that may belong to nobody.
    pub user: Option<String>,
    /// Or the caller's `Authorization` header.
    pub authorization: Option<String>,
    /// Or an entity of the bundle's own.
    pub subject: Option<ResourceCase>,
    /// `METHOD path`; `{me}` stands for the asking person's username.
    pub request: Option<String>,
    /// The host of the request.
    pub host: Option<String>,
    /// Or an action by name.
    pub action: Option<String>,
    /// With its resource.
    pub resource: Option<ResourceCase>,
    /// What the question says of the action.
    #[serde(default)]
    pub properties: toml::Table,
    /// `api` (default) or `dashboard`.
    pub channel: Option<String>,
    /// The question's context.
    pub context: Option<toml::Table>,
    /// `permit` or `deny`.
    pub verdict: String,
    /// The reason's code.
    pub reason: String,
    /// Determining policies, sorted, where they matter.
    pub policies: Option<Vec<String>>,
    /// Words that the message must hold.
    pub message_contains: Option<String>,
}

impl CaseFile {
    /// Reads a file of cases.
    pub fn parse(file: &str, text: &str) -> Result<Self, Diagnostic> {
        let mut cases: Self = toml::from_str(text).map_err(|error| Diagnostic::toml(file, text, &error))?;
        file.clone_into(&mut cases.file);
        for case in &cases.cases {
            case.check().map_err(|what| {
                let message = format!("case `{}`: {what}", case.name);
                Diagnostic::near(file, text, &format!("name = \"{}\"", case.name), &message)
            })?;
        }
        Ok(cases)
    }
}

/// Gives every file the accounts, groups and people of those that it includes.
pub(super) fn include(files: &mut [CaseFile]) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let shared = files.to_vec();
    for file in files {
        for name in &file.include {
            let Some(other) = shared.iter().find(|other| other.file == format!("tests/{name}")) else {
                let message = format!("includes `{name}`, which does not stand in the tests folder");
                faults.push(Diagnostic::file(&file.file, &message));
                continue;
            };
            let mut twice = Vec::new();
            twice.extend(join(&mut file.accounts, &other.accounts));
            twice.extend(join(&mut file.groups, &other.groups));
            twice.extend(join(&mut file.people, &other.people));
            for one in twice {
                faults.push(Diagnostic::file(&file.file, &format!("`{one}` stands here and in the included {name}")));
            }
        }
    }
    faults
}

/// Adds what is not there yet; answers what is.
fn join<T: Clone>(own: &mut BTreeMap<String, T>, other: &BTreeMap<String, T>) -> Vec<String> {
    let twice = other.keys().filter(|name| own.contains_key(*name)).cloned().collect();
    for (name, one) in other {
        own.entry(name.clone()).or_insert_with(|| one.clone());
    }
    twice
}

impl Case {
    fn check(&self) -> Result<(), &'static str> {
        let subjects =
            [self.person.is_some(), self.user.is_some(), self.authorization.is_some(), self.subject.is_some()];
        if subjects.iter().filter(|given| **given).count() != 1 {
            return Err("needs exactly one of person, user, authorization and subject");
        }
        if self.request.is_some() == self.action.is_some() {
            return Err("needs exactly one of request and action");
        }
        if self.request.as_ref().is_some_and(|request| !request.contains(' ')) {
            return Err("request must be `METHOD path`");
        }
        if !matches!(self.verdict.as_str(), "permit" | "deny") {
            return Err("verdict must be `permit` or `deny`");
        }
        if crate::domain::Reason::parse(&self.reason).is_none() {
            return Err("reason is not one of the closed list");
        }
        Ok(())
    }

    /// Compares an answer with the expected one; the faults in words, none where it agrees.
    pub fn judge(&self, verdict: &str, reason: &str, message: &str, policies: &[String]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut compare = |what: &str, wanted: &str, got: &str| {
            if wanted != got {
                faults.push(format!("{what}: expected {wanted}, got {got} ({message})"));
            }
        };
        compare("verdict", &self.verdict, verdict);
        compare("reason", &self.reason, reason);
        if let Some(wanted) = &self.policies {
            compare("policies", &format!("{wanted:?}"), &format!("{policies:?}"));
        }
        if let Some(words) = &self.message_contains
            && !message.contains(words.as_str())
        {
            faults.push(format!("message: expected words `{words}`, got `{message}`"));
        }
        faults
    }
}
