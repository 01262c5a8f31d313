//! Searches against asking everybody one by one, on random worlds and under policies that read in every way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::authz::{Authz, AuthzConfig};
use crate::clock::{HandClock, SeededRandom, Sources};
use crate::directory::Directory;
use crate::domain::{
    AccessMethods, AccountImage, AdministrationLevel, Change, GroupImage, Image, MemberChange, OrganizationImage,
    Revision, Timestamp, UserImage,
};
use crate::policy::{Bundle, Live, Source};
use crate::telemetry::Metrics;
use crate::token::Verifier;

const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 86_400_000;
const PEOPLE: u32 = 40;
const ROLES: [&str; 6] = ["Ordering", "Configuration", "E911 Management", "Reporting", "Porting", "Unheard Of"];
const PRODUCTS: [&str; 5] = ["UC", "NOTIFICATIONS", "Termination", "V2 Messaging", "Messaging"];

/// Policies that read what the dashboard's own do not.
pub(in crate::authz) const NOSY: &str = r#"
@id("orders") permit (principal in Role::"Ordering", action, resource is Account)
    when { resource.products.contains(Product::"UC") || principal.username like "*1" };
@id("group") permit (principal in Group::"019aa8e1-0000-7000-8000-000000000401", action, resource);
@id("few") forbid (principal is User, action, resource is Account) when { principal.accounts == [resource] };
@id("sold-out") forbid (principal, action, resource is Account) when { resource.products.isEmpty() };
@id("one-account") permit (principal, action, resource == Account::"12")
    when { principal has passwordChangedAt
        && context.now.durationSince(principal.passwordChangedAt) > duration("30d") };
@id("admins") permit (principal is User, action, resource is User)
    when { principal.accounts.containsAny(resource.accounts) && resource in Role::"Porting" };
@id("themselves") permit (principal is User, action, resource is User) when { resource == principal };
@id("everywhere") permit (principal is User, action in Action::"Administration", resource is Organization)
    when { principal.accounts.containsAll([Account::"10", Account::"11"]) };
@id("late") forbid (principal is User, action, resource)
    when { principal has passwordChangedAt && principal.passwordChangedAt < datetime("2026-12-01") };
"#;

struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn some<T: Clone>(&mut self, all: &[T], share: u64) -> Vec<T> {
        all.iter().filter(|_| self.below(share) == 0).cloned().collect()
    }
}

pub(in crate::authz) fn bundle(policies: Option<&str>) -> Arc<Bundle> {
    let Some(policies) = policies else { return Arc::new(Bundle::load(&Source::Shipped).unwrap()) };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("routes")).unwrap();
    for file in ["schema.cedarschema", "catalogue.toml"] {
        std::fs::copy(format!("policies/{file}"), folder.path().join(file)).unwrap();
    }
    for entry in std::fs::read_dir("policies/routes").unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join("routes").join(entry.file_name())).unwrap();
    }
    std::fs::write(folder.path().join("rules.cedar"), policies).unwrap();
    Arc::new(Bundle::load(&Source::Folder(folder.path().into())).unwrap())
}

/// Organizations 1 and 2; accounts 10 to 17 by id and number; groups 400 to 403; people from 500.
pub(in crate::authz) fn directory(seed: u64) -> Directory {
    let dice = &mut Dice(seed);
    let directory = Directory::empty();
    let mut changes = Vec::new();
    let mut add = |number, image| changes.push(Change { number, image });
    let organization = |id: &str| Image::Organization(OrganizationImage { id: id.into() });
    add(1, organization("acme"));
    add(2, organization("globex"));
    let accounts: Vec<u32> = (10..18).collect();
    for number in &accounts {
        let products = dice.some(&PRODUCTS, 2).into_iter().map(str::to_owned).collect();
        let organization = if *number < 15 { 1 } else { 2 };
        add(*number, Image::Account(AccountImage { id: number.to_string(), organization, products }));
    }
    let roles = |dice: &mut Dice, share| dice.some(&ROLES, share).into_iter().map(str::to_owned).collect();
    for number in 400..404 {
        let image = GroupImage {
            id: format!("019aa8e1-0000-7000-8000-000000000{number}"),
            organization: if number < 403 { 1 } else { 2 },
            name: format!("group {number}"),
            roles: roles(dice, 4),
            assigned: dice.below(8) == 0,
            accounts: dice.some(&accounts, 6),
        };
        add(number, Image::Group(image));
    }
    for number in 500..500 + PEOPLE {
        let image = UserImage {
            id: format!("019aa8e1-0000-7000-8000-000000000{number}"),
            organization: if dice.below(4) == 0 { 2 } else { 1 },
            username: format!("person{number}"),
            login: None,
            active: dice.below(8) != 0,
            locked: dice.below(10) == 0,
            level: if dice.below(3) == 0 { AdministrationLevel::AccountAdmin } else { AdministrationLevel::BasicUser },
            methods: AccessMethods { dashboard: dice.below(2) == 0, api: dice.below(4) != 0 },
            roles: roles(dice, 3),
            assigned: dice.below(8) == 0,
            accounts: dice.some(&accounts, 3),
            linked_again: None,
            external_ids: std::collections::BTreeMap::new(),
            password_changed_at: (dice.below(2) == 0)
                .then(|| Timestamp(NOW - DAY * i64::try_from(dice.below(120)).unwrap())),
        };
        add(number, Image::User(image));
    }
    for number in 400..404 {
        let added = (500..500 + PEOPLE).filter(|_| dice.below(4) == 0).collect();
        add(number, Image::Members(MemberChange { added, removed: Vec::new() }));
    }
    directory.apply(Revision { epoch: 1, number: 1 }, &changes);
    directory
}

pub(in crate::authz) fn authz(bundle: &Arc<Bundle>, directory: Directory) -> Authz {
    let sources = Sources { clock: Arc::new(HandClock::new(Timestamp(NOW))), random: Arc::new(SeededRandom::new(1)) };
    let live = Arc::new(Live::new(Arc::clone(bundle)));
    let verifier = Arc::new(Verifier::default());
    let metrics = Arc::new(Metrics::new(&[]));
    Authz::new(&AuthzConfig::default(), Arc::new(directory), live, verifier, &sources, metrics)
}

/// All parts of a search, joined.
fn all(mut search: impl FnMut(Page<'_>) -> Found) -> Vec<String> {
    let mut ids = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let found = search(Page { after: after.as_deref(), limit: 3 });
        assert!(found.ids.len() <= 3);
        ids.extend(found.ids);
        after = Some(match found.next {
            Some(next) => next,
            None => return ids,
        });
    }
}

const REQUESTS: [(&str, &str); 8] = [
    ("GET", "/api/accounts/10/orders"),
    ("POST", "/api/accounts/12/orders"),
    ("POST", "/api/accounts/11/e911s"),
    ("GET", "/api/v2/addresses"),
    ("GET", "/api/cities"),
    ("GET", "/api/users/person510"),
    ("POST", "/api/v1/users"),
    ("GET", "/api/accounts/nowhere/orders"),
];
const ACTIONS: [(&str, &str); 6] = [
    ("createOrder", "Account"),
    ("listSippeers", "Account"),
    ("getUser", "User"),
    ("updateUser", "User"),
    ("createUser", "Organization"),
    ("signIn", "Dashboard"),
];

fn compare(bundle: &Arc<Bundle>, seed: u64) -> usize {
    let authz = authz(bundle, directory(seed));
    let view = authz.view();
    let people: Vec<String> = (500..500 + PEOPLE).map(|number| format!("person{number}")).collect();
    let context_of_account = [("account".to_owned(), ContextValue::Text("11".into()))];
    let attributes = [("attributes".to_owned(), ContextValue::Set(vec![ContextValue::Text("title".into())]))];
    let mut permits = 0;
    let ask = |who: &str, asked: Asked<'_>, channel, context: &[(String, ContextValue)]| {
        let subject = Subject::Entity(EntityName::new("User", who));
        let question = Question { subject, asked, channel, context, least_revision: None };
        view.decide(&question).unwrap().verdict() == Verdict::Permit
    };
    for channel in [Channel::Api, Channel::Dashboard] {
        for context in [&[][..], &context_of_account, &attributes] {
            let requests = REQUESTS.map(|(method, path)| Asked::Request { method, host: None, path });
            let by_name = ACTIONS.map(|(action, _)| Asked::Action { action, properties: &[], resource: None });
            for asked in requests.into_iter().chain(by_name) {
                let found = all(|page| view.subjects("user", &asked, channel, context, page).unwrap());
                let brute: Vec<String> =
                    people.iter().filter(|who| ask(who, asked, channel, context)).cloned().collect();
                assert_eq!(found, brute, "seed {seed}: {asked:?} {channel:?} {context:?}");
                permits += found.len();
            }
            for who in people.iter().step_by(11) {
                let subject = Subject::User(who);
                for (action, kind) in ACTIONS {
                    let every: Vec<String> = match kind {
                        "Account" => (10..18).map(|number| number.to_string()).collect(),
                        "User" => people.clone(),
                        "Organization" => vec!["acme".into(), "globex".into()],
                        _ => vec!["dashboard".into()],
                    };
                    let found = all(|page| view.resources(subject, action, &[], kind, channel, context, page).unwrap());
                    let on = |id: &str| {
                        let resource = Some(EntityName::new(kind, id));
                        ask(who, Asked::Action { action, properties: &[], resource }, channel, context)
                    };
                    let brute: Vec<String> = every.into_iter().filter(|id| on(id)).collect();
                    assert_eq!(found, brute, "seed {seed}: {who} {action} {channel:?} {context:?}");
                    permits += found.len();
                }
            }
        }
    }
    permits
}

#[test]
fn a_search_finds_whom_asking_one_by_one_finds() {
    let (shipped, nosy) = (bundle(None), bundle(Some(NOSY)));
    for bundle in [&shipped, &nosy] {
        let mut permits = 0;
        for seed in 1..=2 {
            permits += compare(bundle, seed);
        }
        assert!(permits > 400, "{permits} permits: the worlds test too little");
    }
}

#[test]
fn actions_are_those_that_get_a_permit_one_by_one() {
    let bundle = bundle(None);
    let authz = authz(&bundle, directory(7));
    let view = authz.view();
    let mut most = 0;
    for number in (500..500 + PEOPLE).step_by(3) {
        let who = format!("person{number}");
        let resource = Some(EntityName::new("Account", "10"));
        let found = view.actions(Subject::User(&who), resource, Channel::Api, &[], Page::ALL).unwrap();
        let ask = |action: &str| {
            let asked = Asked::Action { action, properties: &[], resource };
            let question = Question {
                subject: Subject::User(&who),
                asked,
                channel: Channel::Api,
                context: &[],
                least_revision: None,
            };
            view.decide(&question).unwrap().verdict() == Verdict::Permit
        };
        let names: BTreeMap<&str, bool> =
            bundle.actions().iter().map(|action| (&*action.name, ask(&action.name))).collect();
        assert_eq!(found.ids.len(), names.values().filter(|permits| **permits).count());
        assert!(found.ids.iter().all(|name| names[name.as_str()]));
        most = most.max(found.ids.len());
    }
    assert!(most >= 5, "{most}");
}

#[test]
fn what_is_not_known_finds_nobody() {
    let bundle = bundle(None);
    let authz = authz(&bundle, directory(7));
    let view = authz.view();
    let nothing = Found::default();
    let orders = Asked::Request { method: "GET", host: None, path: "/api/accounts/10/orders" };
    let unknown = Asked::Request { method: "GET", host: None, path: "/nowhere" };
    let subjects =
        |kind, asked, after| view.subjects(kind, asked, Channel::Api, &[], Page { after, limit: 9 }).unwrap();
    assert_ne!(subjects("User", &orders, None), nothing);
    assert_eq!(subjects("Robot", &orders, None), nothing);
    assert_eq!(subjects("User", &unknown, None), nothing);
    assert_eq!(subjects("User", &orders, Some("made up")), nothing);
    let resources = |who, action, kind| {
        view.resources(Subject::User(who), action, &[], kind, Channel::Api, &[], Page::ALL).unwrap()
    };
    assert_eq!(resources("nobody", "createOrder", "Account"), nothing);
    assert_eq!(resources("person501", "flyAway", "Account"), nothing);
    assert_eq!(resources("person501", "createOrder", "User"), nothing);
    let here = Some(EntityName::new("Robot", "1"));
    assert_eq!(view.actions(Subject::User("person501"), here, Channel::Api, &[], Page::ALL).unwrap(), nothing);
}
