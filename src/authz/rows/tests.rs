//! What a row keeps is what a fresh evaluation says, for everybody, while the world changes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panic")]

use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::{MOST_SETS, RowKey, Rows};
use crate::authz::{Authz, AuthzConfig, View};
use crate::clock::{HandClock, SeededRandom, Sources};
use crate::directory::Directory;
use crate::domain::{
    AccessMethods, AccountImage, AdministrationLevel, Asked, Change, Channel, EntityName, GroupImage, Image,
    MemberChange, Number, OrganizationImage, Question, Reason, Revision, Subject, Timestamp, UserImage,
};
use crate::policy::{Bundle, Evaluation, Live, Source};
use crate::telemetry::Metrics;
use crate::token::Verifier;

const ROLES: [&str; 6] = ["Ordering", "Configuration", "E911 Management", "Reporting", "Porting", "Unheard Of"];
const PRODUCTS: [&str; 5] = ["UC", "NOTIFICATIONS", "Termination", "V2 Messaging", "Unheard Of"];
const DAY: i64 = 86_400_000;
/// Numbers: organizations 1 and 2, accounts 3 to 6 (two each), groups 7 to 9 (the last of the second), people from 10.
const PEOPLE: Number = 8;

fn chosen(all: &[&str], bits: u8) -> Vec<String> {
    all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, name)| (*name).to_owned()).collect()
}

fn account(number: Number, bits: u8) -> Image {
    Image::Account(AccountImage {
        id: (number * 100).to_string(),
        organization: 1 + Number::from(number > 4),
        products: chosen(&PRODUCTS, bits),
    })
}

fn group(number: Number, roles: u8, flags: u8) -> Image {
    Image::Group(GroupImage {
        id: format!("019aa8e1-0000-7000-8000-0000000000{number:02}"),
        organization: 1 + Number::from(number > 8),
        name: format!("group {number}"),
        roles: if flags & 1 == 0 { chosen(&ROLES, roles & 9) } else { Vec::new() },
        assigned: flags & 2 == 2,
        accounts: if flags & 4 == 4 { vec![3 + Number::from(flags) % 4] } else { Vec::new() },
    })
}

fn person(number: Number, roles: u8, flags: u8, accounts: u8) -> Image {
    Image::User(UserImage {
        id: format!("019aa8e1-0000-7000-8000-0000000000{number:02}"),
        organization: 1 + Number::from(number.is_multiple_of(4)),
        username: format!("user{number}"),
        login: None,
        linked_again: None,
        external_ids: std::collections::BTreeMap::new(),
        active: flags & 192 != 192,
        locked: false,
        level: if flags & 1 == 1 { AdministrationLevel::AccountAdmin } else { AdministrationLevel::BasicUser },
        methods: AccessMethods { dashboard: flags & 6 != 4, api: flags & 6 != 2 },
        roles: if flags & 8 == 0 { chosen(&ROLES, roles | accounts) } else { Vec::new() },
        assigned: flags & 16 == 16,
        accounts: (3..7).filter(|number| (accounts | roles) >> (number - 3) & 1 == 1).collect(),
        password_changed_at: (flags & 32 == 32).then(|| Timestamp(i64::from(accounts >> 4) * 10 * DAY)),
    })
}

/// The same decision in everything that a caller sees.
fn agree(view: &View<'_>, question: &Question<'_>) -> bool {
    let (kept, fresh) = (view.decide(question).unwrap(), view.aside().decide(question).unwrap());
    assert_eq!(kept.reason, fresh.reason, "{question:?}");
    assert_eq!(kept.message, fresh.message, "{question:?}");
    assert_eq!(kept.policies, fresh.policies, "{question:?}");
    assert_eq!((&kept.action, &kept.resource), (&fresh.action, &fresh.resource), "{question:?}");
    fresh.reason.permits()
}

#[test]
fn a_row_says_what_a_fresh_evaluation_says() {
    let bundle = Arc::new(Bundle::load(&Source::Shipped).unwrap());
    let names: Vec<Arc<str>> = bundle.actions().iter().map(|action| Arc::clone(&action.name)).collect();
    let directory = Arc::new(Directory::empty());
    let clock = Arc::new(HandClock::new(Timestamp(200 * DAY)));
    let sources = Sources { clock: clock.clone(), random: Arc::new(SeededRandom::new(1)) };
    let (live, metrics) = (Arc::new(Live::new(Arc::clone(&bundle))), Arc::new(Metrics::new(&[])));
    let config = AuthzConfig::default();
    let verifier = Arc::new(Verifier::default());
    let authz = Authz::new(&config, Arc::clone(&directory), Arc::clone(&live), verifier, &sources, metrics);
    let mut revision = 0;
    let mut change = |number: Number, image: Image| {
        revision += 1;
        directory.apply(Revision { epoch: 1, number: revision }, &[Change { number, image }]);
    };
    for (number, id) in [(1, "acme"), (2, "globex")] {
        change(number, Image::Organization(OrganizationImage { id: id.into() }));
    }
    let mut runner = TestRunner::deterministic();
    let strategy = (any::<[u8; 8]>(), 0..names.len());
    let mut draw = || strategy.new_tree(&mut runner).unwrap().current();
    let (mut permits, mut asked, mut rows, mut organizations) = (0, 0, 0, 0);
    for round in 0..1_000_u16 {
        let ([what, a, b, c, ..], _) = draw();
        match if round < 16 { (round % 5).to_le_bytes()[0] } else { what % 8 } {
            0 => change(3 + Number::from(a) % 4, account(3 + Number::from(a) % 4, b)),
            1 => change(7 + Number::from(a) % 3, group(7 + Number::from(a) % 3, b, c)),
            2 => {
                let delta = MemberChange {
                    added: vec![10 + Number::from(b) % PEOPLE],
                    removed: vec![10 + Number::from(c) % PEOPLE],
                };
                change(7 + Number::from(a) % 3, Image::Members(delta));
            }
            // A group within a group, now and then.
            3 if c % 4 == 0 => {
                let inner = MemberChange { added: vec![7], removed: if b % 2 == 0 { vec![7] } else { Vec::new() } };
                change(8, Image::Members(inner));
            }
            4 if c % 16 == 0 => live.swap(Arc::clone(&bundle)),
            5 if c % 8 == 0 => clock.advance((i64::from(a % 7) - 3) * 10 * DAY + i64::from(b % 3) - 1),
            _ => change(10 + Number::from(a) % PEOPLE, person(10 + Number::from(a) % PEOPLE, b, c, draw().0[0])),
        }
        let view = authz.view();
        for _ in 0..8 {
            let ([who, on, how, ..], action) = draw();
            let number = 10 + Number::from(who) % PEOPLE;
            let name = format!("user{number}");
            // Mostly an account on the person's own side of the wall.
            let own = 3 + 2 * Number::from(number.is_multiple_of(4)) + Number::from(on) % 2;
            let on = if how & 6 == 0 { 3 + Number::from(on) % 4 } else { own };
            let id = (on * 100).to_string();
            let declared = &bundle.actions()[action];
            // Where an action is about the organization as well, sometimes no account is named.
            let unnamed = how & 24 == 8 && declared.applies_to("Organization");
            let resource = (declared.applies_to("Account") && !unnamed).then(|| EntityName::new("Account", &id));
            let action = if how % 32 == 0 { "signIn" } else { &names[action] };
            let resource = resource.filter(|_| action != "signIn");
            let asked_now = Asked::Action { action, properties: &[], resource };
            let channel = if how & 1 == 1 { Channel::Dashboard } else { Channel::Api };
            let question = Question {
                subject: Subject::User(&name),
                asked: asked_now,
                channel,
                context: &[],
                least_revision: None,
            };
            permits += u32::from(agree(&view, &question));
            // Asked again it comes from its row, where it has one.
            permits += u32::from(agree(&view, &question));
            asked += 2;
            rows += u32::from(resource.is_some());
            organizations += u32::from(unnamed);
        }
    }
    let share = f64::from(permits) / f64::from(asked);
    assert!((0.05..0.9).contains(&share), "{share} of {asked} permitted: the questions test too little");
    assert!(rows > asked / 4, "{rows} of {asked} questions could have a row");
    assert!(organizations > 200, "{organizations} questions name no account");
}

#[test]
fn nearly_every_action_on_an_account_has_a_row() {
    let bundle = Bundle::load(&Source::Shipped).unwrap();
    let snapshot = Directory::empty().snapshot();
    let on_accounts: Vec<_> = bundle.actions().iter().filter(|action| action.applies_to("Account")).collect();
    let without = on_accounts.iter().filter(|action| super::ActionLens::of(action, &snapshot).is_none());
    let without: Vec<_> = without.map(|action| &*action.name).collect();
    assert!(without.len() * 20 < on_accounts.len(), "{} of {}: {without:?}", without.len(), on_accounts.len());
}

#[test]
fn whoever_has_more_accounts_than_are_tried_shares_no_outcome_on_the_organization() {
    let sources = Sources { clock: Arc::new(HandClock::new(Timestamp(0))), random: Arc::new(SeededRandom::new(1)) };
    let (directory, metrics) = (Arc::new(Directory::empty()), Arc::new(Metrics::new(&[])));
    let live = Arc::new(Live::new(Arc::new(Bundle::load(&Source::Shipped).unwrap())));
    let verifier = Arc::new(Verifier::default());
    let authz = Authz::new(&AuthzConfig::default(), Arc::clone(&directory), live, verifier, &sources, metrics);
    let most = Number::try_from(super::MOST_ACCOUNTS).unwrap();
    let Image::User(image) = person(10, 0, 0, 0) else { panic!() };
    let account = |number: Number| {
        let image = AccountImage { id: number.to_string(), organization: image.organization, products: Vec::new() };
        Change { number, image: Image::Account(image) }
    };
    let organization = Image::Organization(OrganizationImage { id: "acme".into() });
    let mut changes = vec![Change { number: image.organization, image: organization }];
    changes.extend((100..=100 + most).map(account));
    directory.apply(Revision { epoch: 1, number: 1 }, &changes);
    for (revision, accounts, shares) in [(2, most, true), (3, most + 1, false)] {
        let holder = UserImage { accounts: (100..100 + accounts).collect(), ..image.clone() };
        let change = Change { number: 10, image: Image::User(holder) };
        directory.apply(Revision { epoch: 1, number: revision }, &[change]);
        let view = authz.view();
        let on = super::On::Organization(view.snapshot.organization_id(image.organization).unwrap());
        let sets = view.product_sets(on, view.snapshot.user("user10").unwrap(), u128::MAX);
        assert_eq!(sets.is_some(), shares, "{accounts} accounts");
    }
}

#[test]
fn what_was_kept_for_a_replaced_bundle_is_let_go() {
    let key = |generation, action| RowKey {
        generation,
        action,
        organization: 1,
        owner: 1,
        roles: 0,
        products: [0; MOST_SETS],
        sets: 0,
        traits: 0,
        age: 0,
    };
    let evaluation = Arc::new(Evaluation {
        reason: Reason::Role,
        message: "a role".into(),
        policies: Arc::new([]),
        errors: Vec::new(),
        until: None,
        momentary: false,
    });
    let rows = Rows::new();
    for action in 0..100 {
        rows.put(key(1, action), &evaluation);
        rows.put(key(2, action), &evaluation);
    }
    rows.keep_only(2);
    assert!((0..100).all(|action| rows.get(&key(1, action)).is_none()));
    assert!((0..100).filter(|action| rows.get(&key(2, *action)).is_some()).count() > 90);
    assert_eq!(Arc::strong_count(&evaluation), 1 + rows.rows.count());
}
