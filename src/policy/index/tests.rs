//! The index against plain Cedar: random policies, random questions, the same verdict, determining policies and errors.
//!
//! The long form, with the shares and the seed printed:
//! `CEDARGATE_INDEX_QUESTIONS=1000000 CEDARGATE_INDEX_SEED=7 cargo test --release --lib the_index_answers -- --nocapture`
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panic")]

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{Context, Entity, PolicyId, RestrictedExpression, SlotId, Template};

use super::*;

/// A bug put into the index on purpose; the comparison must find each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Seeded {
    /// Roles and groups of the principal are not looked up.
    NoPrincipalAncestors,
    /// What the resource stands below is not looked up.
    NoResourceAncestors,
    /// Policies that narrow the principal by its type are forgotten.
    NoPrincipalTypes,
    /// Policies that narrow no principal are forgotten.
    NoUnscopedPrincipal,
    /// Policies that narrow no resource are forgotten.
    NoUnscopedResource,
    /// Policies for a group of actions are forgotten.
    NoActionGroups,
    /// Policies for any action are forgotten.
    NoAnyAction,
    /// The search ends at the first permit, so later forbids do not speak.
    FirstPermitWins,
    /// The search ends at the first answer, so that further determining policies are missing.
    FirstAnswerWins,
    /// Errors are lost.
    NoErrors,
    /// Forbids do not override.
    PermitsOverride,
}

const ALL_SEEDED: [Seeded; 11] = [
    Seeded::NoPrincipalTypes,
    Seeded::NoPrincipalAncestors,
    Seeded::NoResourceAncestors,
    Seeded::NoUnscopedPrincipal,
    Seeded::NoUnscopedResource,
    Seeded::NoActionGroups,
    Seeded::NoAnyAction,
    Seeded::FirstPermitWins,
    Seeded::FirstAnswerWins,
    Seeded::NoErrors,
    Seeded::PermitsOverride,
];

pub(super) fn seed_place(seeded: Option<Seeded>, tables: &mut Vec<usize>) {
    match seeded {
        Some(Seeded::NoAnyAction) => tables.retain(|table| *table != 0),
        // The last table that an action finds is its group's or its own; either is missed.
        Some(Seeded::NoActionGroups) if tables.len() > 1 => drop(tables.pop()),
        _ => {}
    }
}

pub(super) fn seed_keys(
    seeded: Option<Seeded>,
    mut principals: Vec<Key>,
    mut resources: Vec<Key>,
) -> (Vec<Key>, Vec<Key>) {
    match seeded {
        Some(Seeded::NoPrincipalAncestors) => principals.truncate(3),
        Some(Seeded::NoResourceAncestors) => resources.truncate(3),
        Some(Seeded::NoPrincipalTypes) if principals.len() > 1 => drop(principals.remove(1)),
        Some(Seeded::NoUnscopedPrincipal) => drop(principals.remove(0)),
        Some(Seeded::NoUnscopedResource) => drop(resources.remove(0)),
        _ => {}
    }
    (principals, resources)
}

pub(super) fn stops_early(seeded: Option<Seeded>, merged: &Merged) -> bool {
    match seeded {
        Some(Seeded::FirstPermitWins) => !merged.permits.is_empty(),
        Some(Seeded::FirstAnswerWins) => !merged.permits.is_empty() || !merged.forbids.is_empty(),
        _ => false,
    }
}

pub(super) fn seed_answer(seeded: Option<Seeded>, merged: &mut Merged) {
    match seeded {
        Some(Seeded::NoErrors) => merged.errors.clear(),
        Some(Seeded::PermitsOverride) if !merged.permits.is_empty() => merged.forbids.clear(),
        _ => {}
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % (sides as u64)).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const USERS: [&str; 4] = ["User::\"u0\"", "User::\"u1\"", "User::\"u2\"", "Service::\"s0\""];
const GROUPS: [&str; 4] = ["Group::\"g0\"", "Group::\"g1\"", "Group::\"g2\"", "Role::\"r0\""];
const ACTIONS: [&str; 3] = ["Action::\"read\"", "Action::\"write\"", "Action::\"purge\""];
const ACTION_GROUPS: [&str; 2] = ["Action::\"change\"", "Action::\"all\""];
const RESOURCES: [&str; 4] = ["Doc::\"d0\"", "Doc::\"d1\"", "Folder::\"f0\"", "User::\"u0\""];
const ABOVE: [&str; 3] = ["Folder::\"f0\"", "Folder::\"f1\"", "Org::\"o0\""];

fn uid(text: &str) -> EntityUid {
    text.parse().unwrap()
}

/// A condition; some err where an attribute is missing or a number is too large.
fn condition(dice: &mut Dice) -> &'static str {
    dice.one(&[
        "",
        "",
        "",
        "when { principal has level && principal.level > 1 }",
        "when { principal.level > 1 }",
        "unless { context.fresh }",
        "when { context has fresh && context.fresh }",
        "when { resource.owner == principal }",
        "when { resource has owner && resource.owner == principal }",
        "when { 9223372036854775807 + context.amount > 0 }",
        "when { principal in Group::\"g1\" || resource in Folder::\"f1\" }",
    ])
}

fn scope(dice: &mut Dice) -> String {
    let principal = match dice.below(8) {
        0 | 1 => "principal".to_owned(),
        2 => format!("principal is {}", dice.one(&["User", "Service"])),
        3 => format!("principal == {}", dice.one(&USERS)),
        4 | 5 => format!("principal in {}", dice.one(&GROUPS)),
        6 => format!("principal in {}", dice.one(&USERS)),
        _ => format!("principal is User in {}", dice.one(&GROUPS)),
    };
    let action = match dice.below(6) {
        0 | 1 => "action".to_owned(),
        2 => format!("action == {}", dice.one(&ACTIONS)),
        3 => format!("action in {}", dice.one(&ACTION_GROUPS)),
        4 => format!("action in {}", dice.one(&ACTIONS)),
        _ => format!("action in [{}, {}]", dice.one(&ACTIONS), dice.one(&ACTION_GROUPS)),
    };
    let resource = match dice.below(7) {
        0 | 1 => "resource".to_owned(),
        2 => format!("resource is {}", dice.one(&["Doc", "Folder", "User"])),
        3 => format!("resource == {}", dice.one(&RESOURCES)),
        4 => format!("resource in {}", dice.one(&ABOVE)),
        5 => format!("resource in {}", dice.one(&RESOURCES)),
        _ => format!("resource is Doc in {}", dice.one(&ABOVE)),
    };
    format!("({principal}, {action}, {resource})")
}

/// Up to twelve policies, of which some come of templates.
fn policies(dice: &mut Dice) -> Vec<Policy> {
    (0..dice.below(12) + 1)
        .map(|number| {
            let effect = if dice.below(9) < 6 { "permit" } else { "forbid" };
            let condition = condition(dice);
            let id = PolicyId::new(format!("p{number}"));
            if dice.below(5) > 0 {
                let text = format!("{effect} {} {condition};", scope(dice));
                return Policy::parse(Some(id), text).unwrap();
            }
            let text = format!("{effect} (principal in ?principal, action, resource == ?resource) {condition};");
            let mut set = PolicySet::new();
            set.add_template(Template::parse(Some(PolicyId::new("t")), text).unwrap()).unwrap();
            let principal = if dice.below(2) == 0 { dice.one(&GROUPS) } else { dice.one(&USERS) };
            let values =
                HashMap::from([(SlotId::principal(), uid(principal)), (SlotId::resource(), uid(dice.one(&RESOURCES)))]);
            set.link(PolicyId::new("t"), id.clone(), values).unwrap();
            super::super::policies::unlinked(set.policy(&id).unwrap()).unwrap()
        })
        .collect()
}

fn actions() -> cedar_policy::Entities {
    let of = |name: &str, above: &[&str]| Entity::new_no_attrs(uid(name), above.iter().map(|one| uid(one)).collect());
    cedar_policy::Entities::from_entities(
        [
            of(ACTIONS[0], &["Action::\"all\""]),
            of(ACTIONS[1], &["Action::\"change\""]),
            of(ACTIONS[2], &[]),
            of("Action::\"change\"", &["Action::\"all\""]),
            of("Action::\"all\"", &[]),
        ],
        None,
    )
    .unwrap()
}

/// Principal, resource and action with random places in the hierarchies; either may be missing from the slice.
fn entities(dice: &mut Dice, principal: &EntityUid, resource: &EntityUid) -> cedar_policy::Entities {
    let mut all: BTreeMap<String, Entity> = BTreeMap::new();
    let mut add = |uid: &EntityUid, above: &[&str], attributes: Vec<(&str, RestrictedExpression)>, dice: &mut Dice| {
        let parents: HashSet<EntityUid> =
            above.iter().filter(|_| dice.below(3) == 0).map(|one| super::tests::uid(one)).collect();
        let parents = parents.into_iter().filter(|parent| parent != uid).collect();
        let attributes = attributes.into_iter().filter(|_| dice.below(4) > 0);
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value)).collect();
        all.insert(uid.to_string(), Entity::new(uid.clone(), attributes, parents).unwrap());
    };
    if dice.below(10) > 0 {
        let level = RestrictedExpression::new_long(i64::try_from(dice.below(4)).unwrap());
        add(principal, &GROUPS, vec![("level", level)], dice);
    }
    if dice.below(10) > 0 && principal != resource {
        let owner = if dice.below(2) == 0 { principal.clone() } else { uid("User::\"u1\"") };
        add(resource, &ABOVE, vec![("owner", RestrictedExpression::new_entity_uid(owner))], dice);
    }
    let known: Vec<Entity> = all.into_values().collect();
    cedar_policy::Entities::from_entities(known.into_iter().chain(actions().iter().cloned()), None).unwrap()
}

#[derive(Debug, Default)]
struct Shares {
    permits: usize,
    forbids: usize,
    errors: usize,
    defaults: usize,
}

/// Asks the index and plain Cedar; answers how they differ first, where they do.
fn compare(questions: usize, seed: u64, seeded: Option<Seeded>) -> (Shares, Option<String>) {
    let mut dice = Dice(seed);
    let hierarchy = actions();
    let mut shares = Shares::default();
    let mut asked_in_all = 0;
    while asked_in_all < questions {
        let policies = policies(&mut dice);
        let plain = PolicySet::from_policies(policies.clone()).unwrap();
        let mut index = Index::new(&policies);
        index.seeded = seeded;
        for _ in 0..20 {
            let (principal, resource) = (uid(dice.one(&USERS)), uid(dice.one(&RESOURCES)));
            let action = uid(dice.one(&ACTIONS));
            let entities = entities(&mut dice, &principal, &resource);
            let amount = RestrictedExpression::new_long(i64::try_from(dice.below(2)).unwrap());
            let mut pairs = vec![("amount".to_owned(), amount)];
            if dice.below(3) > 0 {
                pairs.push(("fresh".to_owned(), RestrictedExpression::new_bool(dice.below(2) == 0)));
            }
            let context = Context::from_pairs(pairs).unwrap();
            let request =
                cedar_policy::Request::new(principal.clone(), action.clone(), resource.clone(), context, None).unwrap();
            let keys = |uid: &EntityUid| {
                let above = entities.ancestors(uid).into_iter().flatten().map(AsRef::as_ref);
                index.keys(uid.as_ref(), above)
            };
            let inner: &Request = request.as_ref();
            let asked = Asked {
                request: inner.clone(),
                entities: entities.as_ref(),
                principal: &keys(&principal),
                resource: &keys(&resource),
            };
            let place = index.place(&action, hierarchy.ancestors(&action).unwrap());
            let at = |id: &str| id.strip_prefix('p')?.parse().ok();
            let (ours, theirs) =
                (index.ask(&place, asked), ask_plainly(&plain, &request, &entities, at).expect("known policies"));
            let words = |answer: &Answer| {
                format!("{:?} by {:?}, errors {:?}", answer.decision, answer.determining, answer.errors)
            };
            if words(&ours) != words(&theirs) {
                let difference = format!("index: {}\nplain: {}\nof {request:?}\n{plain}", words(&ours), words(&theirs));
                return (shares, Some(difference));
            }
            asked_in_all += 1;
            shares.errors += usize::from(!theirs.errors.is_empty());
            match (theirs.decision, theirs.determining.is_empty()) {
                (Decision::Allow, _) => shares.permits += 1,
                (Decision::Deny, false) => shares.forbids += 1,
                (Decision::Deny, true) => shares.defaults += 1,
            }
        }
    }
    (shares, None)
}

#[test]
fn the_index_answers_as_plain_cedar() {
    let number = |name: &str, default: u64| std::env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let questions = usize::try_from(number("CEDARGATE_INDEX_QUESTIONS", 20_000)).unwrap();
    let seed = number("CEDARGATE_INDEX_SEED", 1);
    let (shares, difference) = compare(questions, seed, None);
    #[expect(clippy::print_stdout, reason = "whoever runs it by hand reads this")]
    {
        println!("{questions} questions, seed {seed}: {shares:?}");
    }
    assert!(difference.is_none(), "seed {seed}:\n{}", difference.unwrap());
    for (name, share) in [
        ("permit", shares.permits),
        ("forbid", shares.forbids),
        ("error", shares.errors),
        ("default deny", shares.defaults),
    ] {
        assert!(share * 20 >= questions, "{name}: {share} of {questions} are less than 5 %");
    }
}

#[test]
fn bugs_put_into_the_index_are_found() {
    for seeded in ALL_SEEDED {
        let (_, difference) = compare(20_000, 2, Some(seeded));
        assert!(difference.is_some(), "{seeded:?} was not found");
    }
}
