//! Why a question gets the answer that it gets: the decision itself, with everything that its evaluation saw.
//!
//! The decision is made the ordinary way, by the same code, while an observer looks on; so the two cannot disagree.

mod administrators;

use std::sync::{Mutex, PoisonError};

use super::{Failure, View};
use crate::domain::{ContextValue, Decision, Number, Question, Reason, ResourceName};
use crate::policy::{Action, Evaluation, Explanation, Facts, PolicyFailure, ResourceFacts};
use administrators::{Administrators, groups};

/// One evaluation, as an observer sees it.
pub(super) struct Evaluated<'a> {
    pub(super) action: &'a Action,
    pub(super) facts: &'a Facts<'a>,
    pub(super) context: &'a [(String, ContextValue)],
    /// What came of it, the wall between organizations considered.
    pub(super) evaluation: &'a Evaluation,
    /// Beyond the wall: no change of rights helps.
    pub(super) outside: bool,
}

/// Looks on while a question is decided. A question may take several evaluations.
pub(super) type Observer<'a> = dyn Fn(&Evaluated<'_>) + Sync + 'a;

/// A decision with its explanation.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The decision, as a gateway would get it.
    pub decision: Decision,
    /// What the policies were asked about: for an endpoint without an account in its path the account that came
    /// nearest.
    pub about: Option<ResourceName>,
    /// What the policies said; `None` where none was asked.
    pub explanation: Option<Explanation>,
}

/// The evaluation that came nearest to a permit.
struct Nearest {
    about: ResourceName,
    /// The person who asks.
    who: Option<Number>,
    explanation: Result<Explanation, PolicyFailure>,
}

impl View<'_> {
    /// Decides, and says why. Not counted as a decision and not kept.
    ///
    /// # Errors
    /// As [`View::decide`].
    pub fn explain(&self, question: &Question<'_>) -> Result<Explained, Failure> {
        // A question may take many evaluations, and an explanation costs far more than one: the first time only says
        // which evaluation comes nearest. Both times are of one moment.
        let at = Some(self.authz.clock.now());
        let best: Mutex<(usize, Option<(usize, Reason)>)> = Mutex::new((0, None));
        let look = |seen: &Evaluated<'_>| {
            let mut best = best.lock().unwrap_or_else(PoisonError::into_inner);
            let (nth, reason) = (best.0, seen.evaluation.reason);
            best.0 += 1;
            if best.1.is_none_or(|(_, before)| reason.permits() || reason > before) {
                best.1 = Some((nth, reason));
            }
        };
        let decision = View { at, ..self.watched(&look) }.decide(question)?;
        let Some((wanted, _)) = best.into_inner().unwrap_or_else(PoisonError::into_inner).1 else {
            return Ok(Explained { decision, about: None, explanation: None });
        };
        let nearest: Mutex<(usize, Option<Nearest>)> = Mutex::new((0, None));
        let explain = |seen: &Evaluated<'_>| {
            let mut nearest = nearest.lock().unwrap_or_else(PoisonError::into_inner);
            if nearest.0 == wanted {
                nearest.1 = Some(self.nearest(seen));
            }
            nearest.0 += 1;
        };
        View { at, ..self.watched(&explain) }.decide(question)?;
        let Some(nearest) = nearest.into_inner().unwrap_or_else(PoisonError::into_inner).1 else {
            tracing::error!("the same question on the same state of the world took another way");
            return Err(Failure::Internal);
        };
        let Nearest { about, who, explanation } = nearest;
        let mut explanation = explanation.map_err(|failure| match failure {
            PolicyFailure::Context(fault) | PolicyFailure::Property(fault) => Failure::Context(fault),
            PolicyFailure::Facts(cause) => {
                tracing::error!(cause, "a decision could not be explained");
                Failure::Internal
            }
        })?;
        if let Some(person) = who.and_then(|number| self.snapshot.person(number)) {
            let view = self.aside();
            let mut administrators = Administrators::of(&view, person);
            let steps = explanation.grants.iter_mut().flat_map(|grant| &mut grant.steps);
            for step in steps.chain(&mut explanation.undone_by) {
                administrators.name(step)?;
            }
        }
        if decision.reason == Reason::AccountRequired {
            // Which account is meant is for the request to say.
            explanation.grants.clear();
        }
        Ok(Explained { decision, about: Some(about), explanation: Some(explanation) })
    }

    fn nearest(&self, seen: &Evaluated<'_>) -> Nearest {
        let person = seen.facts.principal.person().and_then(|person| self.snapshot.user_by_id(person.id));
        // No group reaches beyond the wall.
        let joinable = person.filter(|_| !seen.outside);
        let groups = joinable.map_or_else(Vec::new, |person| groups(&self.snapshot, person.organization));
        let bundle = &self.serving.bundle;
        let mut explanation = bundle.explain(seen.action, seen.facts, seen.context, seen.evaluation, &groups);
        if let Ok(explanation) = &mut explanation
            && seen.outside
        {
            explanation.grants.clear();
        }
        Nearest { about: name(&seen.facts.resource), who: person.map(|person| person.number), explanation }
    }
}

fn name(resource: &ResourceFacts<'_>) -> ResourceName {
    let id = match resource {
        ResourceFacts::Account(account) => account.id,
        ResourceFacts::User(person) => person.username,
        ResourceFacts::Organization(id) => id,
        ResourceFacts::Dashboard => "dashboard",
        ResourceFacts::Entity(name) => name.id,
    };
    ResourceName { kind: resource.kind().into(), id: id.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a test fails by panic")]

    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::*;
    use crate::authz::search::tests::{authz, bundle, directory};
    use crate::directory::Directory;
    use crate::domain::{
        AccessMethods, AccountImage, AdministrationLevel, Asked, Change, Channel, EntityName, GroupImage, Image,
        OrganizationImage, Revision, Subject, UserImage, Verdict,
    };
    use crate::policy::{Bundle, Outcome, Source, State};

    /// Who spoke in the explanation decided, and nothing is told that contradicts the verdict.
    #[test]
    fn an_explanation_never_contradicts_its_decision() {
        let bundle = bundle(None);
        let authz = authz(&bundle, directory(3));
        let view = authz.view();
        let (mut permits, mut forbids, mut defaults, mut grants, mut undone) = (0, 0, 0, 0, 0);
        for number in (500..540).step_by(2) {
            let who = format!("person{number}");
            for (at, action) in bundle.actions().iter().enumerate().skip(number % 7).step_by(29) {
                let account = (10 + at % 8).to_string();
                let resource = action.applies_to("Account").then(|| EntityName::new("Account", &account));
                let asked = Asked::Action { action: &action.name, properties: &[], resource };
                let subject = Subject::User(&who);
                let question = Question { subject, asked, channel: Channel::Api, context: &[], least_revision: None };
                let plain = view.decide(&question).expect("a decision");
                let explained = view.explain(&question).expect("an explanation");
                assert_eq!(explained.decision.reason, plain.reason, "{who} {}", action.name);
                let Some(explanation) = explained.explanation else {
                    assert!(plain.policies.is_empty());
                    continue;
                };
                let speaking = |permits: bool| -> BTreeSet<&str> {
                    let all = explanation.policies.iter().filter(|policy| policy.permits == permits);
                    all.filter(|policy| policy.outcome == Outcome::Speaks).map(|policy| &*policy.id).collect()
                };
                let determining: BTreeSet<&str> = plain.policies.iter().map(|id| &**id).collect();
                if plain.verdict() == Verdict::Permit {
                    assert_eq!(speaking(true), determining, "{who} {}", action.name);
                    assert!(speaking(false).is_empty() && explanation.grants.is_empty());
                    permits += 1;
                    undone += usize::from(!explanation.undone_by.is_empty());
                } else {
                    assert!(explanation.undone_by.is_empty());
                    grants += usize::from(!explanation.grants.is_empty());
                    if determining.is_empty() {
                        // Beyond the wall policies are asked, and have no say.
                        if plain.reason != Reason::AccountNotGranted {
                            assert!(speaking(true).is_empty(), "{who} {} {:?}", action.name, explanation.policies);
                        }
                        defaults += 1;
                    } else {
                        assert_eq!(speaking(false), determining, "{who} {}", action.name);
                        forbids += 1;
                    }
                }
                for policy in &explanation.policies {
                    let holds = policy.conditions.iter().all(|one| one.state == State::True);
                    assert_eq!(holds, policy.outcome == Outcome::Speaks);
                }
            }
        }
        let counts = [permits, forbids, defaults, grants, undone];
        assert!(counts.iter().all(|count| *count > 5), "{counts:?}: the questions test too little");
    }

    /// The directory's copy with the changes that a grant asks for.
    fn granted(directory: &Directory, steps: &[crate::policy::Step], who: &str, account: &str) -> Option<Directory> {
        use crate::policy::Piece;

        let snapshot = directory.snapshot();
        let (mut changes, _) = snapshot.changes(None, usize::MAX);
        let numbers: BTreeMap<String, u32> = snapshot.accounts().map(|one| (one.id.to_string(), one.number)).collect();
        let groups: BTreeMap<String, u32> = snapshot.groups().map(|one| (one.id.to_string(), one.number)).collect();
        let mut joined = Vec::new();
        for change in &mut changes {
            let number = change.number;
            match &mut change.image {
                Image::Account(image) if image.id == account => {
                    for step in steps {
                        if let Piece::Product(name) = &step.piece {
                            assert!(step.gain);
                            image.products.push(name.clone());
                        }
                    }
                }
                Image::User(image) if image.username == who => {
                    for step in steps {
                        match (&step.piece, step.gain) {
                            (Piece::Role(name), true) => image.roles.push(name.clone()),
                            (Piece::Role(name), false) => image.roles.retain(|role| role != name),
                            (Piece::Account(id), true) => image.accounts.push(numbers[id]),
                            (Piece::Level(level), true) => image.level = AdministrationLevel::parse(level)?,
                            (Piece::AccessMethod(name), gain) if name == "api" => image.methods.api = gain,
                            (Piece::AccessMethod(_), gain) => image.methods.dashboard = gain,
                            (Piece::FreshPassword, true) => image.password_changed_at = None,
                            (Piece::Product(_), true) => {}
                            (Piece::Group(id), true) => {
                                let joins = crate::domain::MemberChange { added: vec![number], removed: Vec::new() };
                                joined.push(Change { number: groups[id], image: Image::Members(joins) });
                            }
                            // Taking all roles away, or what a group gives, is more than one change of this person.
                            _ => return None,
                        }
                    }
                    image.assigned |= !image.roles.is_empty();
                }
                Image::Organization(_)
                | Image::Account(_)
                | Image::User(_)
                | Image::Group(_)
                | Image::Members(_)
                | Image::Gone => {}
            }
        }
        changes.extend(joined);
        let copy = Directory::empty();
        copy.apply(Revision { epoch: 1, number: 1 }, &changes);
        Some(copy)
    }

    /// Whoever follows a grant is let in: the change is made in the directory, and the question asked again.
    #[test]
    fn every_grant_that_is_told_lets_in_once_it_is_made() {
        let bundle = bundle(None);
        let world = directory(5);
        let here = authz(&bundle, directory(5));
        let view = here.view();
        let mut made: BTreeMap<String, usize> = BTreeMap::new();
        for number in (500..540).step_by(3) {
            let who = format!("person{number}");
            let actions = bundle.actions().iter().filter(|action| action.applies_to("Account"));
            for (at, action) in actions.enumerate().skip(number % 11).step_by(61) {
                let account = (10 + at % 8).to_string();
                let explained = ask(&view, &who, &action.name, "Account", &account);
                for grant in explained.explanation.iter().flat_map(|explanation| &explanation.grants) {
                    let Some(changed) = granted(&world, &grant.steps, &who, &account) else { continue };
                    let there = authz(&bundle, changed);
                    let after = ask(&there.view(), &who, &action.name, "Account", &account).decision;
                    assert_eq!(after.verdict(), Verdict::Permit, "{who} {} {:?}", action.name, grant.steps);
                    for step in &grant.steps {
                        let kind = format!("{:?}", step.piece);
                        *made.entry(kind.split('(').next().unwrap_or_default().to_owned()).or_default() += 1;
                    }
                }
            }
        }
        let kinds: Vec<&str> = made.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["AccessMethod", "Account", "Group", "Level", "Product", "Role"], "{made:?}");
        assert!(made.values().all(|count| *count > 1), "{made:?}");
    }

    fn shown(explained: &Explained) -> Vec<(String, Vec<String>)> {
        let grants = explained.explanation.iter().flat_map(|explanation| &explanation.grants);
        let step = |step: &crate::policy::Step| format!("{} ({})", step.what, step.by);
        grants.map(|grant| (grant.policy.to_string(), grant.steps.iter().map(step).collect())).collect()
    }

    /// Acme with account 100: an admin of it, an admin of 200, a basic user of 100, and a group that gives Ordering.
    fn acme() -> Directory {
        let directory = Directory::empty();
        let mut changes = Vec::new();
        let mut add = |number, image| changes.push(Change { number, image });
        add(1, Image::Organization(OrganizationImage { id: "acme".into() }));
        for (number, id) in [(10, "100"), (11, "200")] {
            add(number, Image::Account(AccountImage { id: id.into(), organization: 1, products: Vec::new() }));
        }
        add(
            20,
            Image::Group(GroupImage {
                id: "019aa8e1-0000-7000-8000-000000000020".into(),
                organization: 1,
                name: "Buyers".into(),
                roles: vec!["Ordering".into()],
                assigned: true,
                accounts: vec![10],
            }),
        );
        let people =
            [("mia", 10, false), ("anna", 10, true), ("ben", 11, true), ("carl", 11, false), ("dora", 10, true)];
        for (number, (name, account, admin)) in (30..).zip(people) {
            let level = if admin { AdministrationLevel::AccountAdmin } else { AdministrationLevel::BasicUser };
            add(
                number,
                Image::User(UserImage {
                    id: format!("019aa8e1-0000-7000-8000-0000000000{number}"),
                    organization: 1,
                    username: name.into(),
                    login: None,
                    // Dora has left.
                    active: name != "dora",
                    locked: false,
                    level,
                    methods: AccessMethods { dashboard: true, api: true },
                    roles: Vec::new(),
                    assigned: false,
                    accounts: vec![account],
                    external_ids: BTreeMap::new(),
                    linked_again: None,
                    password_changed_at: None,
                }),
            );
        }
        directory.apply(Revision { epoch: 1, number: 1 }, &changes);
        directory
    }

    fn ask(view: &View<'_>, who: &str, action: &str, kind: &str, id: &str) -> Explained {
        let asked = Asked::Action { action, properties: &[], resource: Some(EntityName::new(kind, id)) };
        let subject = Subject::User(who);
        let question = Question { subject, asked, channel: Channel::Api, context: &[], least_revision: None };
        view.explain(&question).expect("an explanation")
    }

    #[test]
    fn a_missing_role_names_who_may_assign_it_and_the_group_that_brings_it() {
        let bundle = bundle(None);
        let authz = authz(&bundle, acme());
        let view = authz.view();
        let ways = shown(&ask(&view, "mia", "createOrder", "Account", "100"));
        let admin = "an Account Admin such as anna, or the identity provider";
        assert_eq!(
            ways,
            [
                ("ordering".to_owned(), vec![format!("assign the role Ordering ({admin})")]),
                (
                    "ordering".to_owned(),
                    vec!["add to the group `Buyers`, which gives the role Ordering (the identity provider)".to_owned()]
                ),
            ]
        );
        // Nobody who shares an account with carl reaches account 100; the group brings role and account at once.
        let ways = shown(&ask(&view, "carl", "createOrder", "Account", "100"));
        assert!(ways[0].1[0].starts_with("add to the group `Buyers`") && ways[0].1.len() == 1, "{ways:?}");
        let nobody = "the identity provider; no Account Admin may change this person so";
        assert_eq!(
            ways[1].1,
            [
                "assign the role Ordering (an Account Admin such as ben, or the identity provider)".to_owned(),
                format!("grant account 100 ({nobody})"),
            ]
        );
    }

    #[test]
    fn other_applications_get_their_nearest_grants_from_their_own_entities() {
        let folder = |name: &str| {
            let path = format!("tests/cases/bundles/{name}");
            Arc::new(Bundle::load(&Source::Folder(path.into())).expect("sound"))
        };
        let documents = folder("documents");
        let authz = authz(&documents, acme());
        let view = authz.view();
        let ways = shown(&ask(&view, "mia", "deleteDocument", "Document", "budget"));
        assert_eq!(
            ways,
            [(
                "owner".to_owned(),
                vec![
                    "set `owner` of Document::\"budget\" to \"mia\" (whoever keeps the entities of this folder)"
                        .to_owned()
                ]
            )]
        );
        let permitted = ask(&view, "mia", "readDocument", "Document", "budget");
        let undone = &permitted.explanation.as_ref().expect("an explanation").undone_by;
        assert_eq!(
            undone.iter().map(|step| step.what.as_str()).collect::<Vec<_>>(),
            ["take Document::\"budget\" out of Folder::\"company\""]
        );

        let records = folder("authzen-certification");
        let authz = super::super::search::tests::authz(&records, Directory::empty());
        let view = authz.view();
        let by = "the application that asks";
        assert_eq!(
            shown(&ask(&view, "alice", "write", "record", "record-2")),
            [
                ("write-archived".to_owned(), vec![format!("set `role` of user::\"alice\" to \"admin\" ({by})")]),
                ("write-active".to_owned(), vec![format!("set `status` of record::\"record-2\" to \"active\" ({by})")]),
            ]
        );
        // Nobody becomes alice; what only the request can say is told in the condition's words.
        let deletes = shown(&ask(&view, "alice", "delete", "record", "record-1"));
        assert_eq!(deletes.len(), 1);
        assert!(deletes[0].1.iter().any(|step| step.starts_with("ask so that this holds: ")), "{deletes:?}");
        assert_eq!(shown(&ask(&view, "bob", "delete", "record", "record-1")), []);
    }
}
