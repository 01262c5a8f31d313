//! One identity provider: it makes its own people and groups and changes them at random, in the words of its kind.

mod observe;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::{Account, Group, PRODUCTS, Person, ROLES, World};
use crate::support::{Dice, Doors, Operator, Provisioner};
use wire::{GROUP_EXTENSION, USER_EXTENSION, Wire};

const PEOPLE: usize = 12;
const GROUPS: usize = 4;
const ORGANIZATION: &str = "acme";

/// Account ids that are granted: the last belongs to another organization and gives nothing.
const ACCOUNTS: &[&str] = &["w100", "w101", "w102", "w103", "x900"];

/// Password ages in days; none of them near the limit.
const AGES: &[Option<i64>] = &[None, Some(1), Some(60), Some(120), Some(1000)];

/// Makes both organizations and their accounts.
pub fn furnish(doors: &Doors) -> Arc<BTreeMap<String, Account>> {
    let mut operator = doors.operator();
    let products: [(&str, &[&str]); 4] = [
        ("w100", PRODUCTS),
        ("w101", &[]),
        ("w102", &["UC", "Hosted Messaging", "Messaging"]),
        ("w103", &["V2 Messaging", "EdgeManagement", "CSR", "LIDB"]),
    ];
    let mut accounts = BTreeMap::new();
    for organization in [ORGANIZATION, "globex"] {
        operator.organization(organization);
    }
    for (id, names) in products {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        operator.account(ORGANIZATION, id, &names);
        accounts.insert(id.to_owned(), Account { products: names.into_iter().collect() });
    }
    operator.account("globex", "x900", &[]);
    Arc::new(accounts)
}

/// A change and the world after it.
pub struct Change {
    operator: bool,
    method: &'static str,
    path: String,
    body: Value,
    /// What the answer gives an id to.
    learns: Option<Named>,
    /// The world once it is made.
    pub after: World,
    /// People whose answers it may change; never empty.
    pub touched: Vec<String>,
}

/// Somebody or something that the server gives an id.
#[derive(Clone, Debug)]
enum Named {
    User(String),
    Group(String),
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.method, self.path, self.body)
    }
}

/// The identity provider.
pub struct Writer {
    name: String,
    token: String,
    scim: Provisioner,
    operator: Operator,
    wire: Wire,
    dice: Dice,
    accounts: Arc<BTreeMap<String, Account>>,
    user_ids: BTreeMap<String, String>,
    group_ids: BTreeMap<String, String>,
    people_made: usize,
    groups_made: usize,
}

fn set(of: Vec<&str>) -> BTreeSet<String> {
    of.into_iter().map(str::to_owned).collect()
}

impl Writer {
    /// Connects a new identity provider.
    pub fn new(doors: &Doors, at: usize, accounts: &Arc<BTreeMap<String, Account>>, dice: Dice) -> Self {
        let profile = ["okta", "entra", "generic", "jumpcloud"][at % 4];
        let token = doors.operator().connection(ORGANIZATION, profile);
        Self {
            name: format!("w{at}"),
            scim: doors.provisioner(&token),
            token,
            operator: doors.operator(),
            wire: Wire::of(profile),
            dice,
            accounts: Arc::clone(accounts),
            user_ids: BTreeMap::new(),
            group_ids: BTreeMap::new(),
            people_made: 0,
            groups_made: 0,
        }
    }

    /// Makes everybody; answers the world that the server has confirmed.
    pub fn populate(&mut self) -> World {
        let mut world = World { accounts: Arc::clone(&self.accounts), ..World::default() };
        for _ in 0..PEOPLE {
            let change = self.newcomer(&world);
            self.carry_out(&change);
            world = change.after;
        }
        for _ in 0..GROUPS {
            let change = self.create_group(&world);
            self.carry_out(&change);
            world = change.after;
        }
        world
    }

    /// Sends a change; the server must take it.
    pub fn carry_out(&mut self, change: &Change) {
        self.try_carry_out(change).unwrap_or_else(|error| panic!("{change}: {error}"));
    }

    /// As [`Self::carry_out`], for servers that may die meanwhile.
    pub fn try_carry_out(&mut self, change: &Change) -> Result<(), std::io::Error> {
        let reply = if change.operator {
            self.operator.try_call(change.method, &change.path, &change.body)?
        } else {
            self.scim.try_call(change.method, &change.path, &change.body)?
        };
        assert!((200..300).contains(&reply.status), "{change}\nwas refused: {} {}", reply.status, reply.text());
        let id = || reply.json()["id"].as_str().expect("an id").to_owned();
        match &change.learns {
            None => {}
            Some(Named::Group(name)) => drop(self.group_ids.insert(name.clone(), id())),
            Some(Named::User(who)) => {
                let before = self.user_ids.insert(who.clone(), id());
                assert!(before.is_none_or(|before| before == id()), "{who} came back as somebody else");
            }
        }
        Ok(())
    }

    /// One more person.
    pub fn newcomer(&mut self, world: &World) -> Change {
        let who = format!("{}-p{}", self.name, self.people_made);
        self.people_made += 1;
        self.create(world, &who)
    }

    /// What comes next, and what the world is then.
    pub fn next_change(&mut self, world: &World) -> Change {
        let people: Vec<&String> = world.people.keys().collect();
        let who = (*self.dice.pick(&people)).clone();
        let is_deleted = !self.user_ids.contains_key(&who);
        let groups: Vec<&String> = world.groups.keys().collect();
        let group = (!groups.is_empty()).then(|| (*self.dice.pick(&groups)).clone());
        match (self.dice.below(100), group) {
            (50..70, Some(group)) => self.members(world, &group),
            (70..77, Some(group)) => self.group_rights(world, &group),
            (77..80, Some(group)) => self.put_group(world, &group),
            (80..83, Some(group)) if groups.len() >= GROUPS => self.delete_group(world, &group),
            (80..83, _) => self.create_group(world),
            _ if is_deleted => self.create(world, &who),
            (0..18, _) => self.toggle(world, &who),
            (18..28, _) => self.put(world, &who),
            (28..40, _) => self.patch_roles(world, &who),
            (40..50, _) => self.patch_accounts(world, &who),
            (83..87, _) => self.patch_methods(world, &who),
            (87..92, _) if !world.people[&who].locked => self.delete(world, &who),
            _ => self.by_operator(world, &who),
        }
    }

    fn random_roles(&mut self) -> BTreeSet<String> {
        let mut roles = set(self.dice.some(ROLES, 3));
        if self.dice.one_in(12) {
            roles.insert("Keeper of the Keys".into());
        }
        roles
    }

    fn random_accounts(&mut self) -> BTreeSet<String> {
        let mut accounts = set(self.dice.some(ACCOUNTS, 3));
        if self.dice.one_in(2) {
            accounts.insert("w100".into());
        }
        accounts
    }

    /// Everything that an identity provider says; what only operators say stays.
    fn redraw(&mut self, person: &Person) -> Person {
        let (dashboard, api) = [(true, false), (false, true), (false, true), (true, true)][self.dice.below(4)];
        Person {
            admin: self.dice.one_in(3),
            dashboard,
            api,
            roles: self.random_roles(),
            accounts: self.random_accounts(),
            active: !self.dice.one_in(5),
            locked: person.locked,
            password_age: person.password_age,
        }
    }

    fn change(&self, method: &'static str, path: String, body: Value, after: World, touched: Vec<String>) -> Change {
        Change { operator: false, method, path, body, learns: None, after, touched }
    }

    fn of_person(&self, world: &World, who: &str, method: &'static str, body: Value, person: Person) -> Change {
        let mut after = world.clone();
        after.people.insert(who.to_owned(), Arc::new(person));
        self.change(method, format!("Users/{}", self.user_ids[who]), body, after, vec![who.to_owned()])
    }

    /// The first time, or again after a deletion: then it is the same person, with only what is said now.
    fn create(&mut self, world: &World, who: &str) -> Change {
        let person = self.redraw(world.people.get(who).map_or(&Person::default(), |before| before));
        let body = self.wire.user(who, &person);
        let mut after = world.clone();
        after.people.insert(who.to_owned(), Arc::new(person));
        let mut change = self.change("POST", "Users".into(), body, after, vec![who.to_owned()]);
        if let Some(id) = self.user_ids.get(&format!("-{who}")).cloned() {
            self.user_ids.insert(who.to_owned(), id);
        }
        change.learns = Some(Named::User(who.to_owned()));
        change
    }

    fn delete(&mut self, world: &World, who: &str) -> Change {
        // How old the password is stays known: forgetting it would make it young.
        let password_age = world.people[who].password_age;
        let gone = Person { active: false, password_age, ..Person::default() };
        let mut change = self.of_person(world, who, "DELETE", Value::Null, gone);
        for group in change.after.groups.values_mut().filter(|group| group.members.contains(who)) {
            Arc::make_mut(group).members.remove(who);
        }
        // Kept aside: whoever comes again keeps the id.
        if let Some(id) = self.user_ids.remove(who) {
            self.user_ids.insert(format!("-{who}"), id);
        }
        change
    }

    fn toggle(&mut self, world: &World, who: &str) -> Change {
        let person = &world.people[who];
        let person = Person { active: !person.active, ..Person::clone(person) };
        let body = self.wire.active(&mut self.dice, person.active);
        self.of_person(world, who, "PATCH", body, person)
    }

    fn put(&mut self, world: &World, who: &str) -> Change {
        let person = self.redraw(&world.people[who]);
        let body = self.wire.user(who, &person);
        self.of_person(world, who, "PUT", body, person)
    }

    fn patch_roles(&mut self, world: &World, who: &str) -> Change {
        let mut person = Person::clone(&world.people[who]);
        let element = |name: &String| json!({"value": name});
        let body = match self.dice.below(4) {
            0 => {
                let more = self.random_roles();
                person.roles.extend(more.iter().cloned());
                self.wire.add("roles", more.iter().map(element).collect())
            }
            1 if !person.roles.is_empty() => {
                let roles: Vec<String> = person.roles.iter().cloned().collect();
                let role = self.dice.pick(&roles);
                person.roles.remove(role);
                self.wire.remove(&format!("roles[value eq \"{role}\"]"))
            }
            2 if !person.roles.is_empty() => {
                person.roles.clear();
                self.wire.remove("roles")
            }
            _ => {
                person.roles = self.random_roles();
                self.wire.replace(&mut self.dice, "", "roles", person.roles.iter().map(element).collect())
            }
        };
        self.of_person(world, who, "PATCH", body, person)
    }

    fn patch_accounts(&mut self, world: &World, who: &str) -> Change {
        let mut person = Person::clone(&world.people[who]);
        let objects = self.dice.one_in(2);
        let element = |id: &String| if objects { json!({"value": id}) } else { json!(id) };
        let body = match self.dice.below(3) {
            0 => {
                let more = self.random_accounts();
                person.accounts.extend(more.iter().cloned());
                self.wire.add(&format!("{USER_EXTENSION}:accounts"), more.iter().map(element).collect())
            }
            1 if !person.accounts.is_empty() => {
                let accounts: Vec<String> = person.accounts.iter().cloned().collect();
                let account = self.dice.pick(&accounts);
                person.accounts.remove(account);
                self.wire.remove(&format!("{USER_EXTENSION}:accounts[value eq \"{account}\"]"))
            }
            _ => {
                person.accounts = self.random_accounts();
                let ids = person.accounts.iter().map(element).collect();
                self.wire.replace(&mut self.dice, USER_EXTENSION, "accounts", ids)
            }
        };
        self.of_person(world, who, "PATCH", body, person)
    }

    fn patch_methods(&mut self, world: &World, who: &str) -> Change {
        let drawn = self.redraw(&world.people[who]);
        let person = Person { dashboard: drawn.dashboard, api: drawn.api, ..Person::clone(&world.people[who]) };
        let methods = wire::methods(&person);
        let body = self.wire.replace(&mut self.dice, USER_EXTENSION, "accessMethods", methods);
        self.of_person(world, who, "PATCH", body, person)
    }

    /// What no identity provider says: lock and age of the password; and the level, which both may.
    fn by_operator(&mut self, world: &World, who: &str) -> Change {
        let mut person = Person::clone(&world.people[who]);
        let body = match self.dice.below(4) {
            0 | 1 => {
                person.admin = !person.admin;
                json!({"administrationLevel": wire::level(&person)})
            }
            2 => {
                person.locked = !person.locked;
                json!({"locked": person.locked})
            }
            _ => {
                person.password_age = *self.dice.pick(AGES);
                json!({"passwordChangedAt": person.password_age.map(crate::support::days_ago)})
            }
        };
        let mut change = self.of_person(world, who, "PATCH", body, person);
        change.operator = true;
        change.path = format!("users/{}", self.user_ids[who]);
        change
    }

    fn of_group(&self, world: &World, group: &str, method: &'static str, body: Value, is: Group) -> Change {
        let mut after = world.clone();
        let before = after.groups.insert(group.to_owned(), Arc::new(is.clone()));
        let mut touched: BTreeSet<String> = is.members;
        touched.extend(before.iter().flat_map(|before| before.members.iter().cloned()));
        let touched = if touched.is_empty() { world.people.keys().cloned().collect() } else { touched };
        self.change(method, format!("Groups/{}", self.group_ids[group]), body, after, touched.into_iter().collect())
    }

    fn present(&self, world: &World) -> Vec<String> {
        world.people.keys().filter(|who| self.user_ids.contains_key(*who)).cloned().collect()
    }

    fn ids(&self, of: &BTreeSet<String>) -> Vec<Value> {
        of.iter().map(|who| json!({"value": self.user_ids[who]})).collect()
    }

    fn members(&mut self, world: &World, group: &str) -> Change {
        let mut is = Group::clone(&world.groups[group]);
        let present = self.present(world);
        let members: Vec<String> = is.members.iter().cloned().collect();
        let body = match self.dice.below(4) {
            0 | 1 => {
                let more: BTreeSet<String> = self.dice.some(&present, 3).into_iter().collect();
                is.members.extend(more.iter().cloned());
                self.wire.add("members", self.ids(&more))
            }
            2 if !members.is_empty() => {
                let fewer: BTreeSet<String> = self.dice.some(&members, 2).into_iter().collect();
                is.members.retain(|who| !fewer.contains(who));
                let ids: Vec<&str> = fewer.iter().map(|who| self.user_ids[who].as_str()).collect();
                self.wire.remove_members(&ids)
            }
            _ => {
                is.members = self.dice.some(&present, 4).into_iter().collect();
                let ids = self.ids(&is.members);
                self.wire.replace(&mut self.dice, "", "members", ids)
            }
        };
        self.of_group(world, group, "PATCH", body, is)
    }

    fn group_rights(&mut self, world: &World, group: &str) -> Change {
        let mut is = Group::clone(&world.groups[group]);
        let (attribute, names) = if self.dice.one_in(2) {
            is.roles = self.random_roles();
            ("roles", &is.roles)
        } else {
            is.accounts = self.random_accounts();
            ("accounts", &is.accounts)
        };
        let names = names.iter().map(|name| json!(name)).collect();
        let body = self.wire.replace(&mut self.dice, GROUP_EXTENSION, attribute, names);
        self.of_group(world, group, "PATCH", body, is)
    }

    fn random_group(&mut self, world: &World) -> Group {
        let present = self.present(world);
        Group {
            roles: self.random_roles(),
            accounts: self.random_accounts(),
            members: self.dice.some(&present, 4).into_iter().collect(),
        }
    }

    fn put_group(&mut self, world: &World, group: &str) -> Change {
        let is = self.random_group(world);
        let body = wire::group(group, &is, self.ids(&is.members));
        self.of_group(world, group, "PUT", body, is)
    }

    fn create_group(&mut self, world: &World) -> Change {
        self.groups_made += 1;
        let name = format!("{}-g{}", self.name, self.groups_made);
        let is = self.random_group(world);
        let body = wire::group(&name, &is, self.ids(&is.members));
        self.group_ids.insert(name.clone(), String::new());
        let mut change = self.of_group(world, &name, "POST", body, is);
        change.path = "Groups".into();
        change.learns = Some(Named::Group(name));
        change
    }

    fn delete_group(&mut self, world: &World, group: &str) -> Change {
        let mut change = self.of_group(world, group, "DELETE", Value::Null, Group::clone(&world.groups[group]));
        change.after.groups.remove(group);
        change
    }
}
