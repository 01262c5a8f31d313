//! What the server says that the people of one identity provider are.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Writer;
use super::wire::{GROUP_EXTENSION, USER_EXTENSION};
use crate::model::{Group, Person, World};
use crate::support::Doors;

/// Names in a list: of strings, or of objects with a value.
fn names<C: FromIterator<String>>(list: &Value) -> C {
    let name = |item: &Value| item.as_str().or_else(|| item["value"].as_str()).expect("a name").to_owned();
    list.as_array().into_iter().flatten().map(name).collect()
}

fn person(document: &Value) -> Person {
    let own = &document[USER_EXTENSION];
    let methods: Vec<String> = names(&own["accessMethods"]);
    Person {
        admin: own["administrationLevel"] == "Account Admin",
        dashboard: methods.iter().any(|method| method == "dashboard"),
        api: methods.iter().any(|method| method == "api"),
        roles: names(&document["roles"]),
        accounts: names(&own["accounts"]),
        active: document["active"] == true,
        locked: own["locked"] == true,
        password_age: None,
    }
}

/// The same world without the age of passwords, which the wire shows as a moment.
fn ageless(world: &World) -> World {
    let mut world = world.clone();
    for person in world.people.values_mut() {
        Arc::make_mut(person).password_age = None;
    }
    world
}

impl Writer {
    /// Finds its doors again after the server was started anew.
    pub fn reconnect(&mut self, doors: &Doors) {
        self.scim = doors.provisioner(&self.token);
        self.operator = doors.operator();
    }

    /// Reads everything back. It must be the world that was confirmed last, or that of the change whose answer
    /// never came: whichever it is goes on from here.
    pub fn settle(&mut self, before: &World, pending: Option<&World>) -> World {
        let observed = self.observe(before);
        let candidates = [Some(before), pending];
        let found = candidates.into_iter().flatten().find(|world| {
            let world = ageless(world);
            world.people == observed.people && world.groups == observed.groups
        });
        let Some(found) = found else {
            let wanted = ageless(before);
            for (who, person) in &wanted.people {
                assert_eq!(observed.people.get(who), Some(person), "{who}; the pending change: {pending:?}");
            }
            assert_eq!(observed.groups, wanted.groups, "the pending change: {pending:?}");
            panic!("there is more than was ever confirmed: {observed:?}, pending {pending:?}");
        };
        found.clone()
    }

    fn observe(&mut self, before: &World) -> World {
        let users = self.list("Users", "userName");
        let groups = self.list("Groups", "displayName");
        let mut world = World { accounts: Arc::clone(&self.accounts), ..World::default() };
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let mut by_id = BTreeMap::new();
        for user in &users {
            by_id.insert(text(&user["id"]), text(&user["userName"]));
            world.people.insert(text(&user["userName"]), Arc::new(person(user)));
        }
        for (who, id) in std::mem::take(&mut self.user_ids) {
            let who = who.trim_start_matches('-').to_owned();
            self.user_ids.insert(if by_id.contains_key(&id) { who } else { format!("-{who}") }, id);
        }
        self.user_ids.extend(by_id.iter().map(|(id, who)| (who.clone(), id.clone())));
        for who in before.people.keys().filter(|who| !self.user_ids.contains_key(*who)) {
            world.people.insert(who.clone(), Arc::new(Person { active: false, ..Person::default() }));
        }
        self.group_ids.clear();
        for group in &groups {
            let ids: Vec<String> = names(&group["members"]);
            let own = &group[GROUP_EXTENSION];
            let members = ids.iter().map(|id| by_id.get(id).expect("members are there").clone()).collect();
            let is = Group { roles: names(&own["roles"]), accounts: names(&own["accounts"]), members };
            self.group_ids.insert(text(&group["displayName"]), text(&group["id"]));
            world.groups.insert(text(&group["displayName"]), Arc::new(is));
        }
        world
    }

    fn list(&mut self, kind: &str, name: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let start = all.len() + 1;
            // The extension is named, so that the lock, which is shown on request only, comes with it.
            let shown = format!("userName,displayName,active,roles,members,{USER_EXTENSION},{GROUP_EXTENSION}");
            let page = format!("count=100&startIndex={start}&attributes={shown}");
            let path = format!("{kind}?filter={name}%20sw%20%22{}-%22&{page}", self.name);
            let page = self.scim.call("GET", &path, &Value::Null).expect(&[200]).json();
            all.extend(page["Resources"].as_array().into_iter().flatten().cloned());
            if all.len() as u64 >= page["totalResults"].as_u64().expect("a total") {
                return all;
            }
            assert!(all.len() >= start, "an empty page before the end: {page}");
        }
    }
}
