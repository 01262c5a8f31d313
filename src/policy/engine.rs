//! Candidate policies to an [`Evaluation`]: the only evaluator in the house is Cedar's.
//!
//! Pure. A policy that errs never lets anybody in: Cedar skips it, so a forbid that errs becomes a deny here,
//! and a permit that errs grants nothing and is reported.

use std::sync::Arc;

use cedar_policy::{Decision, Effect};

use super::action::Action;
use super::entities::{Facts, ResourceFacts};
use super::index::{self, Answer};
use super::load::Bundle;
use super::policies::Loaded;
use super::prepare::{PolicyFailure, Slice};
use crate::domain::{ContextValue, Reason, Timestamp};

/// The most roles that a sentence names.
const MOST_NAMED: usize = 16;

/// The outcome of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Why.
    pub reason: Reason,
    /// A sentence for a person.
    pub message: Arc<str>,
    /// Ids of the determining policies, sorted.
    pub policies: Arc<[Arc<str>]>,
    /// Policies that could not be evaluated, with Cedar's words. The caller raises the alarm.
    pub errors: Vec<String>,
    /// The outcome holds before this moment and must be asked anew from then on; `None` holds for ever.
    pub until: Option<Timestamp>,
    /// The outcome may change at any moment.
    pub momentary: bool,
}

impl Evaluation {
    /// The answer to a question whose properties are not what the schema declares; never kept.
    pub fn malformed(message: &str) -> Self {
        let (reason, message, policies) = (Reason::MalformedRequest, message.into(), Arc::new([]));
        Self { reason, message, policies, errors: Vec::new(), until: None, momentary: true }
    }
}

impl Bundle {
    /// Evaluates an action. `sent` is the context of the question.
    ///
    /// # Errors
    /// Cedar could not be asked.
    pub fn evaluate(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
    ) -> Result<Evaluation, PolicyFailure> {
        self.evaluate_ready(action, facts, sent, Slice::default())
    }

    /// The same with entities that were made before.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn evaluate_ready(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
        slice: Slice<'_>,
    ) -> Result<Evaluation, PolicyFailure> {
        if action.distrusts_index() {
            return self.evaluate_plainly(action, facts, sent);
        }
        applies(action, facts)?;
        let assembled = self.assemble(action, facts, sent, slice)?;
        self.explained(action, facts, &self.index.ask(&action.place, assembled.asked()))
    }

    /// The same by Cedar's own authorizer, without the index and with nothing made before: every policy is asked. What
    /// the self-check measures with.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn evaluate_plainly(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
    ) -> Result<Evaluation, PolicyFailure> {
        applies(action, facts)?;
        let (request, entities) = self.prepare(action, facts, sent)?;
        let answer = index::ask_plainly(&self.plain, &request, &entities, |id| self.place_of(id));
        let unknown = || PolicyFailure::Facts("a policy spoke that is not among those loaded".into());
        self.explained(action, facts, &answer.ok_or_else(unknown)?)
    }

    /// From Cedar's answer to ours: the first reason, its sentence, and how long it holds.
    fn explained(&self, action: &Action, facts: &Facts<'_>, answer: &Answer) -> Result<Evaluation, PolicyFailure> {
        let mut determining: Vec<&Loaded> = answer.determining.iter().filter_map(|at| self.policies.get(*at)).collect();
        let (mut errors, mut erring_forbids) = (Vec::new(), Vec::new());
        for (at, words) in &answer.errors {
            errors.push(words.clone());
            erring_forbids.extend(self.policies.get(*at).filter(|policy| policy.effect == Effect::Forbid));
        }
        if !erring_forbids.is_empty() {
            if answer.decision == Decision::Allow {
                determining.clear();
            }
            determining.extend(erring_forbids.iter().copied());
        }
        determining.sort_by(|a, b| a.id.cmp(&b.id));
        let reason_of = |loaded: &Loaded| {
            if erring_forbids.iter().any(|erring| erring.id == loaded.id) { Reason::PolicyError } else { loaded.reason }
        };
        let (reason, message) = match determining.iter().copied().min_by_key(|loaded| reason_of(loaded)) {
            Some(first) if reason_of(first) == first.reason => (first.reason, Arc::clone(&first.sentence)),
            Some(first) => (reason_of(first), first.says(reason_of(first)).into()),
            None => {
                let (reason, message) = self.nearest(action, facts);
                (reason, message.into())
            }
        };
        let changed = facts.principal.person().and_then(|person| person.password_changed_at);
        let (until, momentary) = action.time.next_change(changed, facts.now);
        Ok(Evaluation {
            reason,
            message,
            policies: determining.iter().map(|loaded| Arc::clone(&loaded.id)).collect(),
            errors,
            until,
            momentary,
        })
    }

    /// What a default deny says: the latest check, in the order of the reasons, that one of the action's
    /// permits fails; the nearest thing to a permit.
    fn nearest(&self, action: &Action, facts: &Facts<'_>) -> (Reason, String) {
        let account = match (&facts.resource, &facts.account) {
            (ResourceFacts::Account(account), _) | (_, Some(account)) => Some(account),
            (
                ResourceFacts::User(_)
                | ResourceFacts::Organization(_)
                | ResourceFacts::Dashboard
                | ResourceFacts::Entity(_),
                None,
            ) => None,
        };
        let mut best = (Reason::NotCovered, format!("no role of the catalogue covers {}", action.name));
        let mut better = |reason: Reason, message: String| {
            if reason > best.0 {
                best = (reason, message);
            }
        };
        let held = |role: &str| facts.principal.person().is_some_and(|person| person.roles.contains(&role));
        for loaded in action.profiles.iter().flat_map(|profile| &profile.others).filter_map(|at| self.policies.get(*at))
        {
            if let Some(missing) = loaded.missing {
                better(missing, loaded.says(missing));
            }
        }
        let roles = facts.principal.person().map_or(&[][..], |person| &person.roles);
        for permit in roles.iter().flat_map(|role| self.of_role(action, role)) {
            let role = permit.analysis.role.as_deref().unwrap_or_default();
            let lacking: Vec<&str> = (permit.analysis.products.iter().map(String::as_str))
                .filter(|product| account.is_none_or(|account| !account.products.contains(product)))
                .collect();
            if lacking.is_empty() {
                let missing = permit.missing.unwrap_or(Reason::RoleMissing);
                better(missing, permit.says(missing));
            } else {
                let where_ = account.map_or("no granted account has".to_owned(), |_| "this account lacks".to_owned());
                let message = format!(
                    "the role {role} covers this on accounts with {}; {where_} {}",
                    listing(&permit.analysis.products, "and"),
                    listing(&lacking, "and"),
                );
                better(Reason::ProductInactive, message);
            }
        }
        if best.0 < Reason::RoleMissing
            && let Some(message) = self.wanted_roles(action, held)
        {
            best = (Reason::RoleMissing, message);
        }
        best
    }

    /// The permits of an action that ask for a role.
    fn of_role<'b>(&'b self, action: &'b Action, role: &str) -> impl Iterator<Item = &'b Loaded> {
        let of_role = action.profiles.iter().filter_map(move |profile| profile.by_role.get(role));
        of_role.flatten().filter_map(|at| self.policies.get(*at))
    }

    /// Which roles would help somebody who does not hold them; a long list is cut.
    fn wanted_roles(&self, action: &Action, held: impl Fn(&str) -> bool) -> Option<String> {
        let mut roles: Vec<&str> = (action.profiles.iter())
            .flat_map(|profile| profile.by_role.keys().map(String::as_str).filter(|role| !held(role)).take(MOST_NAMED))
            .collect();
        roles.sort_unstable();
        roles.dedup();
        roles.truncate(MOST_NAMED);
        let mut wanted: Vec<String> = Vec::new();
        for permit in roles.into_iter().flat_map(|role| self.of_role(action, role)) {
            wanted.push(with_products(permit.analysis.role.as_deref()?, &permit.analysis.products));
        }
        wanted.sort();
        wanted.dedup();
        let more = wanted.len().saturating_sub(MOST_NAMED);
        wanted.truncate(MOST_NAMED);
        match (wanted.as_slice(), more) {
            ([], _) => None,
            ([one], _) => Some(format!("needs the role {one}")),
            (many, 0) => Some(format!("needs one of the roles {}", listing(many, "or"))),
            (many, _) => Some(format!("needs one of the roles {}, or of others", many.join(", "))),
        }
    }
}

fn applies(action: &Action, facts: &Facts<'_>) -> Result<(), PolicyFailure> {
    let kind = facts.resource.kind();
    let fault = || PolicyFailure::Facts(format!("`{}` does not apply to a {kind}", action.name));
    action.applies_to(kind).then_some(()).ok_or_else(fault)
}

fn with_products(role: &str, products: &[String]) -> String {
    if products.is_empty() {
        role.to_owned()
    } else {
        format!("{role} (on accounts with {})", listing(products, "and"))
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listing<T: AsRef<str>>(items: &[T], last: &str) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        None => String::new(),
        Some((one, [])) => (*one).to_owned(),
        Some((end, before)) => format!("{} {last} {end}", before.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{AccessMethods, AdministrationLevel};
    use crate::policy::{AccountFacts, Asker, PrincipalFacts, Source};

    const ROLES: [&str; 6] = ["Ordering", "Configuration", "E911 Management", "Reporting", "Porting", "Unheard Of"];
    const PRODUCTS: [&str; 5] = ["UC", "NOTIFICATIONS", "Termination", "V2 Messaging", "Messaging"];

    fn chosen<'a>(all: &[&'a str], bits: u8) -> Vec<&'a str> {
        all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, name)| *name).collect()
    }

    fn principal(roles: u8, flags: u8, age: i64) -> PrincipalFacts<'static> {
        let roles = chosen(&ROLES, roles);
        PrincipalFacts {
            id: "019aa8e1-0000-7000-8000-000000000001",
            username: "jdoe",
            organization: "acme",
            level: if flags & 1 == 1 { AdministrationLevel::AccountAdmin } else { AdministrationLevel::BasicUser },
            methods: AccessMethods { dashboard: flags & 2 == 2, api: flags & 4 == 4 || flags & 2 == 0 },
            has_assigned_role: !roles.is_empty(),
            roles,
            groups: Vec::new(),
            // Most people reach the account that is asked for, so that other rules come to speak.
            accounts: if flags & 56 == 0 { vec!["200"] } else { vec!["100"] },
            password_changed_at: (flags & 16 == 16).then_some(Timestamp(age)),
        }
    }

    /// The candidates of an action answer as all policies do: same verdict, same determining policies, no error.
    #[test]
    fn candidates_answer_as_plain_cedar_over_all_policies() {
        let bundle = Bundle::load(&Source::Shipped).expect("sound");
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let actions = bundle.routes().endpoints().len();
        let strategy = (0..actions, any::<u8>(), any::<u8>(), any::<u8>(), 0_i64..200);
        let mut permits = 0;
        for _ in 0..1500 {
            let tree = strategy.new_tree(&mut runner).expect("a value");
            let (index, roles, flags, products, days) = proptest::strategy::ValueTree::current(&tree);
            let Some(action) = bundle.action(index) else { continue };
            let resource = match action.resources.first().map(|kind| &**kind) {
                Some("User") => ResourceFacts::User(Box::new(principal(roles, flags, 0))),
                Some("Organization") => ResourceFacts::Organization("acme"),
                Some("Dashboard") => ResourceFacts::Dashboard,
                _ => ResourceFacts::Account(AccountFacts {
                    id: "100",
                    organization: "acme",
                    products: chosen(&PRODUCTS, products),
                }),
            };
            let facts = Facts {
                principal: Asker::Person(Box::new(principal(roles, flags, days * 86_400_000))),
                resource,
                account: None,
                channel: if products & 128 == 128 { "dashboard" } else { "api" },
                now: Timestamp(200 * 86_400_000),
            };
            let ours = bundle.evaluate(action, &facts, &[]).expect("an evaluation");
            assert_eq!(ours, bundle.evaluate_plainly(action, &facts, &[]).expect("an evaluation"), "{}", action.name);
            assert!(ours.errors.is_empty());
            permits += usize::from(ours.reason.permits());
        }
        assert!((75..1425).contains(&permits), "{permits} of 1500 permitted: the questions test too little");
    }

    #[test]
    fn a_forbid_that_errs_denies_and_a_permit_that_errs_grants_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        std::fs::create_dir(folder.path().join("routes")).expect("a folder");
        write(
            "schema.cedarschema",
            "entity User { level: Long, organization: Organization }; entity Organization; entity Account in [Organization]; type Request = { channel: String };",
        );
        write(
            "routes/all.toml",
            "area = \"x\"\n[[action]]\nname = \"a\"\nresource = \"Account\"\n[[action]]\nname = \"b\"\nresource = \"Account\"\n",
        );
        write(
            "rules.cedar",
            r#"@id("all") permit (principal, action == Action::"a", resource);
               @id("overflow") forbid (principal, action == Action::"a", resource) when { principal.level + 1 > 0 };
               @id("grant") permit (principal, action == Action::"b", resource) when { principal.level + 1 > 0 };"#,
        );
        let bundle = Bundle::load(&Source::Folder(folder.path().into())).expect("sound");
        let account = || AccountFacts { id: "1", organization: "acme", products: Vec::new() };
        let facts = Facts {
            // The entity carries no `level`, as a fault of ours would make it: both policies err.
            principal: Asker::Person(Box::new(principal(0, 0, 0))),
            resource: ResourceFacts::Account(account()),
            account: None,
            channel: "api",
            now: Timestamp(0),
        };
        let ask = |name: &str| {
            let action = bundle.action(bundle.action_named(name).expect("declared")).expect("there");
            bundle.evaluate(action, &facts, &[]).expect("an evaluation")
        };
        let denied = ask("a");
        assert_eq!(denied.reason, Reason::PolicyError);
        assert_eq!(denied.policies.iter().map(|id| &**id).collect::<Vec<_>>(), ["overflow"]);
        let nothing = ask("b");
        assert!(!nothing.reason.permits() && nothing.policies.is_empty() && nothing.errors.len() == 1);
    }
}
