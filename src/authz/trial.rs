//! Runs a bundle's own cases: a directory made from the case file, the same decisions as in service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::coverage::Coverage;
use super::explain::Evaluated;
use super::{Authz, AuthzConfig, View};
use crate::clock::{HandClock, SeededRandom, Sources};
use crate::directory::Directory;
use crate::domain::{
    AccessMethods, AccountImage, AdministrationLevel, Asked, Change, Channel, ContextValue, EntityName, GroupImage,
    Image, MemberChange, Number, OrganizationImage, Question, Revision, Subject, Timestamp, UserImage, Verdict,
};
use crate::policy::trial::{Asking, Case, CaseFile, PersonCase, ResourceCase};
use crate::policy::{Bundle, Live};
use crate::telemetry::Metrics;
use crate::token::Verifier;

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The file.
    pub file: String,
    /// The case's name.
    pub name: String,
    /// What differs from the expected answer; empty where it agrees.
    pub faults: Vec<String>,
    /// The policies that determined the answer.
    pub policies: Vec<String>,
    /// Whether the answer was a permit.
    pub permitted: bool,
}

/// When the cases take place: any moment would do, as ages are relative to it.
const NOW: Timestamp = Timestamp(1_790_000_000_000);
const DAY: i64 = 86_400_000;
const ORGANIZATION: Number = 1;

/// Runs every case of the files on the bundle.
pub fn run(bundle: &Arc<Bundle>, files: &[CaseFile]) -> Vec<Trial> {
    files.iter().flat_map(|file| World::of(bundle, file).run(file)).collect()
}

/// As [`run`], looking on at what every case sees of the policies.
pub fn run_watched(bundle: &Arc<Bundle>, files: &[CaseFile]) -> (Vec<Trial>, Coverage) {
    let coverage = Mutex::new(Coverage::of(bundle));
    let observe = |seen: &Evaluated<'_>| {
        if let Ok(considered) = bundle.consider(seen.action, seen.facts, seen.context, seen.evaluation) {
            coverage.lock().unwrap_or_else(PoisonError::into_inner).see(&considered);
        }
    };
    let trials = files.iter().flat_map(|file| {
        let world = World::of(bundle, file);
        let view = world.authz.view();
        let view = view.watched(&observe);
        file.cases.iter().enumerate().map(|(at, case)| ask(&view, file, at, case)).collect::<Vec<_>>()
    });
    let trials = trials.collect();
    (trials, coverage.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Decisions on the accounts, groups and people of a case file, all of one organization.
pub(super) fn authz_of(bundle: &Arc<Bundle>, file: &CaseFile) -> Authz {
    World::of(bundle, file).authz
}

/// The accounts, groups and people of a case file.
pub(super) fn directory_of(bundle: &Bundle, file: &CaseFile) -> Directory {
    let directory = Directory::empty();
    directory.apply(Revision { epoch: 1, number: 1 }, &Builder::new(bundle).changes(file));
    directory
}

/// A directory of one case file, with the decisions on it.
struct World {
    authz: Authz,
}

impl World {
    fn of(bundle: &Arc<Bundle>, file: &CaseFile) -> Self {
        let directory = Arc::new(directory_of(bundle, file));
        let sources = Sources { clock: Arc::new(HandClock::new(NOW)), random: Arc::new(SeededRandom::new(1)) };
        let live = Arc::new(Live::new(Arc::clone(bundle)));
        let metrics = Arc::new(Metrics::new(&[]));
        let config = AuthzConfig { cache_entries: 0, ..AuthzConfig::default() };
        Self { authz: Authz::new(&config, directory, live, Arc::new(Verifier::default()), &sources, metrics) }
    }

    fn run(&self, file: &CaseFile) -> Vec<Trial> {
        let view = self.authz.view();
        file.cases.iter().enumerate().map(|(at, case)| ask(&view, file, at, case)).collect()
    }
}

fn ask<'a>(view: &View<'_>, file: &CaseFile, at: usize, case: &'a Case) -> Trial {
    let me = asking_name(at, case);
    let context = case.context.as_ref().map_or_else(Vec::new, values);
    let said = |entity: &Option<ResourceCase>| entity.as_ref().map_or_else(Vec::new, |one| values(&one.properties));
    let (of_subject, of_resource) = (said(&case.subject), said(&case.resource));
    let entity = |one: &'a ResourceCase, properties| EntityName { kind: &one.kind, id: &one.id, properties };
    let subject = match (&case.user, &case.authorization, &case.subject) {
        (Some(user), _, _) => Subject::User(user),
        (_, Some(header), _) => Subject::Authorization(header),
        (_, _, Some(subject)) => Subject::Entity(entity(subject, &of_subject)),
        (None, None, None) => Subject::User(&me),
    };
    let properties = values(&case.properties);
    let request = case.request.as_ref().map(|request| request.replace("{me}", &me));
    let asked = match (&request, &case.action) {
        (Some(request), _) => {
            let (method, path) = request.split_once(' ').unwrap_or((request, ""));
            Asked::Request { method, host: case.host.as_deref(), path }
        }
        (None, action) => Asked::Action {
            action: action.as_deref().unwrap_or(""),
            properties: &properties,
            resource: case.resource.as_ref().map(|resource| entity(resource, &of_resource)),
        },
    };
    let channel = if case.channel.as_deref() == Some("dashboard") { Channel::Dashboard } else { Channel::Api };
    let answer = view.decide(&Question { subject, asked, channel, context: &context, least_revision: None });
    let (faults, policies, permitted) = match answer {
        Ok(decision) => {
            let permitted = decision.verdict() == Verdict::Permit;
            let verdict = if permitted { "permit" } else { "deny" };
            let policies: Vec<String> = decision.policies.iter().map(ToString::to_string).collect();
            let faults = case.judge(verdict, decision.reason.code(), &decision.message, &policies);
            (faults, policies, permitted)
        }
        Err(failure) => (vec![format!("no decision: {failure}")], Vec::new(), false),
    };
    Trial { file: file.file.clone(), name: case.name.clone(), faults, policies, permitted }
}

/// The username of a case's person; those described on the spot are named by their place.
fn asking_name(at: usize, case: &Case) -> String {
    match &case.person {
        Some(Asking::Named(name)) => name.clone(),
        Some(Asking::Inline(_)) | None => format!("person-{at}"),
    }
}

fn values(table: &toml::Table) -> Vec<(String, ContextValue)> {
    fn value(of: &toml::Value) -> ContextValue {
        match of {
            toml::Value::String(text) => ContextValue::Text(text.clone()),
            toml::Value::Integer(number) => ContextValue::Integer(*number),
            toml::Value::Boolean(truth) => ContextValue::Boolean(*truth),
            toml::Value::Array(items) => ContextValue::Set(items.iter().map(value).collect()),
            toml::Value::Table(fields) => {
                ContextValue::Record(fields.iter().map(|(key, of)| (key.clone(), value(of))).collect())
            }
            toml::Value::Float(number) => ContextValue::OtherNumber(number.to_string()),
            toml::Value::Datetime(time) => ContextValue::Text(time.to_string()),
        }
    }
    table.iter().map(|(key, of)| (key.clone(), value(of))).collect()
}

struct Builder<'a> {
    bundle: &'a Bundle,
    changes: Vec<Change>,
    accounts: BTreeMap<String, Number>,
    groups: BTreeMap<String, Number>,
}

impl<'a> Builder<'a> {
    const fn new(bundle: &'a Bundle) -> Self {
        Self { bundle, changes: Vec::new(), accounts: BTreeMap::new(), groups: BTreeMap::new() }
    }

    fn changes(mut self, file: &CaseFile) -> Vec<Change> {
        self.add(Image::Organization(OrganizationImage { id: "cases".into() }));
        for (id, account) in &file.accounts {
            let all = account.products.iter().any(|product| product == "*");
            let products = if all {
                self.bundle.catalogue().products.iter().map(|product| product.name.clone()).collect()
            } else {
                account.products.clone()
            };
            let number =
                self.add(Image::Account(AccountImage { id: id.clone(), organization: ORGANIZATION, products }));
            self.accounts.insert(id.clone(), number);
        }
        for (name, group) in &file.groups {
            let image = GroupImage {
                id: name.clone(),
                organization: ORGANIZATION,
                name: name.clone(),
                roles: group.roles.clone(),
                assigned: false,
                accounts: self.numbers(&group.accounts),
            };
            let number = self.add(Image::Group(image));
            self.groups.insert(name.clone(), number);
        }
        for (name, person) in &file.people {
            self.person(name, person);
        }
        for (at, case) in file.cases.iter().enumerate() {
            if let Some(Asking::Inline(person)) = &case.person {
                self.person(&asking_name(at, case), person);
            }
        }
        self.changes
    }

    fn add(&mut self, image: Image) -> Number {
        let number = Number::try_from(self.changes.len() + 1).unwrap_or(Number::MAX);
        self.changes.push(Change { number, image });
        number
    }

    fn numbers(&self, accounts: &[String]) -> Vec<Number> {
        accounts.iter().filter_map(|id| self.accounts.get(id).copied()).collect()
    }

    fn person(&mut self, name: &str, person: &PersonCase) {
        let holds = |method: &str| person.methods.iter().any(|one| one == method);
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().rev().zip((self.changes.len() as u64).to_le_bytes()) {
            *to = from;
        }
        let number = self.add(Image::User(UserImage {
            id: uuid::Uuid::from_bytes(id).to_string(),
            organization: ORGANIZATION,
            username: name.to_owned(),
            login: None,
            active: person.active,
            locked: person.locked,
            level: AdministrationLevel::parse(&person.level).unwrap_or_default(),
            methods: AccessMethods { dashboard: holds("dashboard"), api: holds("api") },
            roles: person.roles.clone(),
            assigned: false,
            accounts: self.numbers(&person.accounts),
            password_changed_at: person.password_age_days.map(|days| Timestamp(NOW.0 - days * DAY)),
            linked_again: None,
            external_ids: std::collections::BTreeMap::new(),
        }));
        let groups: Vec<Number> = person.groups.iter().filter_map(|name| self.groups.get(name).copied()).collect();
        for group in groups {
            let image = Image::Members(MemberChange { added: vec![number], removed: Vec::new() });
            self.changes.push(Change { number: group, image });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Source;

    #[test]
    fn the_shipped_bundle_passes_its_own_cases() {
        let bundle = Arc::new(Bundle::load(&Source::Shipped).expect("sound"));
        let trials = run(&bundle, bundle.cases());
        let failed: Vec<String> = (trials.iter().filter(|trial| !trial.faults.is_empty()))
            .map(|trial| format!("{}: {}: {}", trial.file, trial.name, trial.faults.join("; ")))
            .collect();
        assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), trials.len(), failed.join("\n"));
        assert!(trials.len() > 100);
    }

    #[test]
    fn the_decision_cases_hold() {
        let bundle = Arc::new(Bundle::load(&Source::Shipped).expect("sound"));
        let mut files = Vec::new();
        for entry in std::fs::read_dir("tests/cases/decisions").expect("cases") {
            let path = entry.expect("entry").path();
            let text = std::fs::read_to_string(&path).expect("text");
            files.push(CaseFile::parse(&path.display().to_string(), &text).unwrap_or_else(|fault| panic!("{fault}")));
        }
        let trials = run(&bundle, &files);
        let failed: Vec<String> = (trials.iter().filter(|trial| !trial.faults.is_empty()))
            .map(|trial| format!("{}: {}: {}", trial.file, trial.name, trial.faults.join("; ")))
            .collect();
        assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), trials.len(), failed.join("\n"));
    }
}
