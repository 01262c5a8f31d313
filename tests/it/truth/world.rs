//! The world of the truth test: every state with its number, as the model sees it and as the directory is told it.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use cedargate::domain::{
    AccessMethods, AccountImage, AdministrationLevel, Change, GroupImage, Image, MemberChange, Number,
    OrganizationImage, Timestamp, UserImage,
};

use crate::model::{self, Group, PRODUCTS, Person, ROLES};
use crate::support::Dice;

pub const DAY: i64 = 86_400_000;
/// Days after which a password is too old.
const PASSWORD_DAYS: i64 = 90;
pub const ORGANIZATION: &str = "acme";
/// Accounts of the organization.
const OWN: [&str; 4] = ["w100", "w101", "w102", "w103"];
/// Of another organization; granting it gives nothing.
const FOREIGN: &str = "x900";
const FIRST_ACCOUNT: Number = 3;
const FIRST_GROUP: Number = 10;
const GROUPS: Number = 4;
const FIRST_PERSON: Number = 20;
const PEOPLE: Number = 24;
/// States that are remembered: slow readers are never so far behind.
const REMEMBERED: usize = 16_384;
const NAMES_AT_ONCE: usize = 3;

/// One state.
#[derive(Clone, Debug)]
pub struct State {
    /// The ages of passwords are left out here.
    pub world: model::World,
    /// When each password was set.
    pub passwords: BTreeMap<String, Timestamp>,
}

impl State {
    /// As the model sees it at a moment.
    pub fn at(&self, who: &str, now: Timestamp) -> model::World {
        let mut world = self.world.clone();
        if let (Some(set), Some(person)) = (self.passwords.get(who), world.people.get_mut(who)) {
            let past = now.0 - set.0;
            // The model counts whole days; one moment more than ninety is more than ninety.
            let days = if past > PASSWORD_DAYS * DAY { PASSWORD_DAYS + 1 } else { past.div_euclid(DAY) };
            *person = Arc::new(Person { password_age: Some(days), ..Person::clone(person) });
        }
        world
    }
}

/// All states by their number, the newest last.
pub struct States(RwLock<BTreeMap<u64, Arc<State>>>);

impl States {
    pub fn new(first: u64, state: State) -> Self {
        Self(RwLock::new([(first, Arc::new(state))].into()))
    }

    pub fn get(&self, number: u64) -> Arc<State> {
        Arc::clone(self.0.read().unwrap().get(&number).unwrap_or_else(|| panic!("state {number} is not remembered")))
    }

    pub fn newest(&self) -> (u64, Arc<State>) {
        let states = self.0.read().unwrap();
        let (number, state) = states.last_key_value().unwrap();
        (*number, Arc::clone(state))
    }

    /// Remembers a state before anybody can see it.
    pub fn push(&self, number: u64, state: State) {
        let mut states = self.0.write().unwrap();
        states.insert(number, Arc::new(state));
        if states.len() > REMEMBERED {
            states.pop_first();
        }
    }
}

/// The first state, and the changes that make it.
pub fn begin(dice: &mut Dice, now: Timestamp) -> (State, Vec<Change>) {
    let mut state = State { world: model::World::default(), passwords: BTreeMap::new() };
    let mut changes = Vec::new();
    for (number, id) in [(1, ORGANIZATION), (2, "globex")] {
        changes.push(Change { number, image: Image::Organization(OrganizationImage { id: id.into() }) });
    }
    changes.push(account_change(FOREIGN, &[], 2));
    for id in OWN {
        changes.extend(account(dice, &mut state, id));
    }
    for number in 0..GROUPS {
        changes.extend(group(dice, &mut state, number));
    }
    for number in 0..PEOPLE {
        changes.extend(person(dice, &mut state, number, now));
    }
    (state, changes)
}

/// The next state, and the changes that lead there: one commit.
pub fn change(dice: &mut Dice, state: &mut State, now: Timestamp) -> Vec<Change> {
    match dice.below(20) {
        0 => {
            let id = *dice.pick(&OWN);
            account(dice, state, id)
        }
        1..4 => {
            let number = below(dice, GROUPS);
            group(dice, state, number)
        }
        4..11 => members(dice, state),
        11..13 => password(dice, state, now),
        _ => {
            let number = below(dice, PEOPLE);
            person(dice, state, number, now)
        }
    }
}

fn below(dice: &mut Dice, limit: Number) -> Number {
    Number::try_from(dice.below(usize::try_from(limit).unwrap())).unwrap()
}

fn number_of(account: &str) -> Number {
    let at = OWN.iter().position(|id| *id == account).unwrap_or(OWN.len());
    FIRST_ACCOUNT + Number::try_from(at).unwrap()
}

fn account_change(id: &str, products: &[String], organization: Number) -> Change {
    let image = AccountImage { id: id.into(), organization, products: products.to_vec() };
    Change { number: number_of(id), image: Image::Account(image) }
}

fn account(dice: &mut Dice, state: &mut State, id: &str) -> Vec<Change> {
    // One account has everything, one nothing, most of the time.
    let products: Vec<String> = PRODUCTS
        .iter()
        .filter(|_| if id == OWN[0] { !dice.one_in(8) } else { dice.one_in(if id == OWN[1] { 8 } else { 2 }) })
        .map(|name| (*name).to_owned())
        .collect();
    let accounts = Arc::make_mut(&mut state.world.accounts);
    accounts.insert(id.to_owned(), model::Account { products: products.iter().cloned().collect() });
    vec![account_change(id, &products, 1)]
}

fn names(dice: &mut Dice) -> Vec<String> {
    let mut names: Vec<String> = dice.some(ROLES, NAMES_AT_ONCE).into_iter().map(str::to_owned).collect();
    names.extend(dice.one_in(12).then(|| "Keeper of the Keys".to_owned()));
    names
}

fn granted(dice: &mut Dice) -> Vec<String> {
    let mut ids: Vec<String> = dice.some(&OWN, 2).into_iter().map(str::to_owned).collect();
    ids.extend(dice.one_in(6).then(|| FOREIGN.to_owned()));
    ids
}

fn group(dice: &mut Dice, state: &mut State, number: Number) -> Vec<Change> {
    let name = format!("g{number}");
    let before = state.world.groups.get(&name).map(|group| group.members.clone()).unwrap_or_default();
    let (roles, accounts) = (names(dice), granted(dice));
    let image = GroupImage {
        id: group_id(number),
        organization: 1,
        name: name.clone(),
        assigned: !roles.is_empty(),
        roles: roles.clone(),
        accounts: accounts.iter().map(|id| number_of(id)).collect(),
    };
    let group = Group { roles: roles.into_iter().collect(), accounts: accounts.into_iter().collect(), members: before };
    state.world.groups.insert(name, Arc::new(group));
    vec![Change { number: FIRST_GROUP + number, image: Image::Group(image) }]
}

fn members(dice: &mut Dice, state: &mut State) -> Vec<Change> {
    let number = below(dice, GROUPS);
    let group = Arc::make_mut(state.world.groups.get_mut(&format!("g{number}")).unwrap());
    let mut delta = MemberChange { added: Vec::new(), removed: Vec::new() };
    for _ in 0..=dice.below(3) {
        let person = below(dice, PEOPLE);
        let (name, person) = (username(person), FIRST_PERSON + person);
        if delta.added.contains(&person) || delta.removed.contains(&person) {
            continue;
        }
        if group.members.remove(&name) {
            delta.removed.push(person);
        } else {
            group.members.insert(name);
            delta.added.push(person);
        }
    }
    vec![Change { number: FIRST_GROUP + number, image: Image::Members(delta) }]
}

fn person(dice: &mut Dice, state: &mut State, number: Number, now: Timestamp) -> Vec<Change> {
    let name = username(number);
    let (dashboard, api) = [(true, false), (false, true), (false, true), (true, true)][dice.below(4)];
    let person = Person {
        admin: dice.one_in(3),
        dashboard,
        api,
        roles: names(dice).into_iter().collect(),
        accounts: granted(dice).into_iter().chain(dice.one_in(2).then(|| OWN[0].to_owned())).collect(),
        active: !dice.one_in(8),
        locked: dice.one_in(20),
        password_age: None,
    };
    state.world.people.insert(name.clone(), Arc::new(person));
    set_password(dice, state, &name, now);
    vec![image(state, number)]
}

fn password(dice: &mut Dice, state: &mut State, now: Timestamp) -> Vec<Change> {
    let number = below(dice, PEOPLE);
    set_password(dice, state, &username(number), now);
    vec![image(state, number)]
}

/// Often so that the limit is reached this very moment, or with the next step of the clock.
fn set_password(dice: &mut Dice, state: &mut State, name: &str, now: Timestamp) {
    let past = match dice.below(5) {
        0 => {
            state.passwords.remove(name);
            return;
        }
        1 => i64::try_from(dice.below(200)).unwrap() * DAY,
        2 => PASSWORD_DAYS * DAY + i64::try_from(dice.below(3)).unwrap() - 1,
        3 => (PASSWORD_DAYS - 1) * DAY,
        _ => 0,
    };
    state.passwords.insert(name.to_owned(), Timestamp(now.0 - past));
}

fn image(state: &State, number: Number) -> Change {
    let name = username(number);
    let person = &state.world.people[&name];
    let image = UserImage {
        id: person_id(number),
        organization: 1,
        username: name.clone(),
        login: None,
        external_ids: BTreeMap::new(),
        linked_again: None,
        active: person.active,
        locked: person.locked,
        level: if person.admin { AdministrationLevel::AccountAdmin } else { AdministrationLevel::BasicUser },
        methods: AccessMethods { dashboard: person.dashboard, api: person.api },
        roles: person.roles.iter().cloned().collect(),
        assigned: !person.roles.is_empty(),
        accounts: person.accounts.iter().map(|id| number_of(id)).collect(),
        password_changed_at: state.passwords.get(&name).copied(),
    };
    Change { number: FIRST_PERSON + number, image: Image::User(image) }
}

pub fn username(number: Number) -> String {
    format!("p{number}")
}

pub fn person_id(number: Number) -> String {
    format!("019aa8e1-0000-7000-8000-0000000010{number:02}")
}

fn group_id(number: Number) -> String {
    format!("019aa8e1-0000-7000-8000-0000000020{number:02}")
}

/// The id of somebody.
pub fn id_of(username: &str) -> String {
    person_id(username[1..].parse().unwrap())
}

/// The ids of somebody's groups.
pub fn groups_of(world: &model::World, who: &str) -> Vec<String> {
    let of = world.groups.iter().filter(|(_, group)| group.members.contains(who));
    of.map(|(name, _)| group_id(name[1..].parse().unwrap())).collect()
}
