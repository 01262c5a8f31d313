//! Everybody in memory: the fold of the ledger, published as one consistent snapshot.
//!
//! Readers take a [`Snapshot`] without a lock and keep it for a whole decision. A change builds the next one
//! beside it, sharing all that did not change, and swaps one pointer; on the writing node that happens before the
//! answer to the write leaves (`app` hands [`Directory::apply`] to the ledger's writer). Holds what decisions
//! read and nothing else; knows no SCIM, no policy and no HTTP.

mod export;
mod external;
mod index;
mod load;
mod pages;
mod records;
mod rights;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::domain::{Change, GroupImage, Image, MemberChange, Number, Revision, UserImage, folded};
use crate::store::{Store, StoreError};
use external::ExternalIds;
use index::{Index, KeyKind, Keys};
use pages::Pages;
use records::Slot;

pub use records::{Account, Group, Person};
pub use rights::{Rights, Sight, with_number};

/// The published state and the one way to change it.
#[derive(Debug)]
pub struct Directory {
    current: ArcSwap<Snapshot>,
    /// The next state; whoever holds it is the only writer.
    next: Mutex<Snapshot>,
}

/// Everybody at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    revision: Revision,
    slots: Pages<Slot>,
    /// Role names and product names by their numbers, and how many there are of each.
    roles: Names,
    products: Names,
    index: Index,
    external: ExternalIds,
    people: u32,
}

impl Directory {
    /// Reads everybody from the store. Blocking.
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Self::load_with_external_ids(store, &[])
    }

    /// As [`Self::load`]; the people of these connections can be found by `externalId` as well.
    pub fn load_with_external_ids(store: &dyn Store, connections: &[String]) -> Result<Self, StoreError> {
        let snapshot = load::load(store, connections)?;
        Ok(Self { current: ArcSwap::from_pointee(snapshot.clone()), next: Mutex::new(snapshot) })
    }

    /// A directory without anybody.
    pub fn empty() -> Self {
        let snapshot = Snapshot::empty(&[]);
        Self { current: ArcSwap::from_pointee(snapshot.clone()), next: Mutex::new(snapshot) }
    }

    /// The newest state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Folds the changes of one revision in and publishes the result.
    pub fn apply(&self, revision: Revision, changes: &[Change]) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            next.fold(change.number, &change.image, revision.number);
        }
        next.revision = revision;
        self.current.store(Arc::new(next.clone()));
    }
}

impl Snapshot {
    /// Nobody yet; of these connections the `externalId`s are kept.
    fn empty(connections: &[String]) -> Self {
        Self {
            revision: Revision { epoch: 1, number: 0 },
            slots: Pages::default(),
            roles: Names::default(),
            products: Names::default(),
            index: Index::default(),
            external: ExternalIds::of(connections),
            people: 0,
        }
    }

    /// Where in the ledger this state stands.
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// How many people there are, deactivated ones too.
    pub const fn people(&self) -> u32 {
        self.people
    }

    /// A person by username or present login, without case.
    pub fn user(&self, name: &str) -> Option<&Arc<Person>> {
        let folded = folded(name);
        let hash = self.index.hash(KeyKind::Name, &*folded);
        let is = |number| self.person(number).is_some_and(|person| person.is_named(&folded));
        self.person(self.index.find(hash, is)?)
    }

    /// A person by SCIM id.
    pub fn user_by_id(&self, id: &str) -> Option<&Arc<Person>> {
        let id = id.parse::<uuid::Uuid>().ok()?;
        let hash = self.index.hash(KeyKind::Person, id.as_bytes());
        let is = |person: &Arc<Person>| person.uuid() == id.as_bytes();
        self.person(self.index.find(hash, |number| self.person(number).is_some_and(is))?)
    }

    /// A person by the `externalId` that a connection's identity provider gave; nobody for a connection that was not
    /// named when the directory was loaded.
    pub fn user_by_external_id(&self, connection: &str, id: &str) -> Option<&Arc<Person>> {
        self.person(self.external.find(connection, id)?)
    }

    /// A person by number.
    pub fn person(&self, number: Number) -> Option<&Arc<Person>> {
        if let Some(Slot::Person(person)) = self.slots.get(number) { Some(person) } else { None }
    }

    /// An account by id.
    pub fn account(&self, id: &str) -> Option<&Arc<Account>> {
        let hash = self.index.hash(KeyKind::Account, id);
        let is = |number| self.account_by_number(number).is_some_and(|account| *account.id == *id);
        self.account_by_number(self.index.find(hash, is)?)
    }

    /// An account by number.
    pub fn account_by_number(&self, number: Number) -> Option<&Arc<Account>> {
        if let Some(Slot::Account(account)) = self.slots.get(number) { Some(account) } else { None }
    }

    /// A group by number.
    pub fn group(&self, number: Number) -> Option<&Arc<Group>> {
        if let Some(Slot::Group(group)) = self.slots.get(number) { Some(group) } else { None }
    }

    /// An organization's id.
    pub fn organization(&self, number: Number) -> &str {
        self.organization_id(number).map_or("", |id| id)
    }

    /// As [`Self::organization`], to be kept; `None` where there is none of this number.
    pub fn organization_id(&self, number: Number) -> Option<&Arc<str>> {
        if let Some(Slot::Organization(id)) = self.slots.get(number) { Some(id) } else { None }
    }

    /// A role's name.
    pub fn role(&self, number: u32) -> &str {
        self.roles.get(number)
    }

    /// Everybody, by number.
    pub fn everybody(&self) -> impl Iterator<Item = &Arc<Person>> {
        self.slots.iter().filter_map(|slot| if let Slot::Person(person) = slot { Some(person) } else { None })
    }

    /// Every account, by number.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.slots.iter().filter_map(|slot| if let Slot::Account(account) = slot { Some(account) } else { None })
    }

    /// Every group, by number.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.slots.iter().filter_map(|slot| if let Slot::Group(group) = slot { Some(group) } else { None })
    }

    /// The number of a role's name, where anybody or any group ever had it.
    pub fn role_named(&self, name: &str) -> Option<u32> {
        let hash = self.index.hash(KeyKind::Role, name);
        self.index.find(hash, |number| self.roles.get(number) == name)
    }

    /// The number of a product's name, where any account ever had it.
    pub fn product_named(&self, name: &str) -> Option<u32> {
        let hash = self.index.hash(KeyKind::Product, name);
        self.index.find(hash, |number| self.products.get(number) == name)
    }

    /// How many names of roles and of products have numbers. Numbers are given once and stay.
    pub const fn name_counts(&self) -> (u32, u32) {
        (self.roles.count, self.products.count)
    }

    fn fold(&mut self, number: Number, image: &Image, revision: u64) {
        match image {
            Image::Organization(organization) => {
                self.put(number, Slot::Organization(organization.id.as_str().into()));
            }
            Image::Account(account) => {
                let hash = self.index.hash(KeyKind::Account, &account.id);
                self.index.insert(hash, number);
                let products = account.products.iter().map(|product| product.as_str().into()).collect();
                let numbers = account.products.iter().map(|product| self.product_number(product));
                let product_set = numbers.collect::<Vec<u32>>().into_iter().try_fold(0, rights::with_number);
                let id = account.id.as_str().into();
                let record =
                    Account { number, id, organization: account.organization, products, product_set, revision };
                self.put(number, Slot::Account(Arc::new(record)));
            }
            Image::User(user) => {
                let before = self.person(number).cloned();
                self.fold_user(number, user, before.as_ref().map_or(&[], |person| person.groups()), revision);
            }
            Image::Group(group) => {
                let parents = self.group(number).map(|before| before.parents.clone()).unwrap_or_default();
                self.fold_group(number, group, parents, revision);
            }
            Image::Members(MemberChange { added, removed }) => {
                removed.iter().for_each(|member| self.join(number, *member, false, revision));
                added.iter().for_each(|member| self.join(number, *member, true, revision));
            }
            Image::Gone => self.put(number, Slot::Gone(revision)),
        }
    }

    fn fold_user(&mut self, number: Number, image: &UserImage, groups: &[Number], revision: u64) {
        let roles: Vec<u32> = image.roles.iter().map(|name| self.role_number(name)).collect();
        let Some(person) = Person::new(number, image, groups, &roles, revision) else {
            return self.put_unreadable(number, revision);
        };
        if let Some(before) = self.person(number).cloned() {
            for hash in self.index.hasher().keys(&before).into_iter().flatten() {
                self.index.remove(hash, number);
            }
            self.people -= 1;
        }
        self.external.put(number, &image.external_ids);
        let keys = self.index.hasher().keys(&person);
        self.put_person(Arc::new(person), keys);
    }

    /// Whoever cannot be read is nobody: an image that was dropped might have taken rights away.
    fn put_unreadable(&mut self, number: Number, revision: u64) {
        tracing::error!(number, "a person's record cannot be read; they are unknown from now on");
        self.put(number, Slot::Gone(revision));
    }

    /// Somebody who is not there yet, with the hashes of all their keys.
    fn put_person(&mut self, person: Arc<Person>, keys: Keys) {
        for hash in keys.into_iter().flatten() {
            self.index.insert(hash, person.number);
        }
        self.people += 1;
        self.put(person.number, Slot::Person(person));
    }

    fn fold_group(&mut self, number: Number, image: &GroupImage, parents: Box<[Number]>, revision: u64) {
        let roles: Box<[u32]> = image.roles.iter().map(|name| self.role_number(name)).collect();
        let group = Group {
            number,
            id: image.id.as_str().into(),
            organization: image.organization,
            name: image.name.as_str().into(),
            role_set: roles.iter().copied().try_fold(0, rights::with_number),
            roles,
            assigned: image.assigned,
            accounts: image.accounts.as_slice().into(),
            parents,
            revision,
        };
        self.put(number, Slot::Group(Arc::new(group)));
    }

    /// Adds a member to a group, or takes it away.
    fn join(&mut self, group: Number, member: Number, joins: bool, revision: u64) {
        let Some(slot) = self.slots.at(member) else { return };
        match slot {
            Slot::Person(person) => {
                if let Some(next) = person.joining(group, joins, revision) {
                    *slot = Slot::Person(Arc::new(next));
                }
            }
            Slot::Group(inner) => {
                let mut parents = inner.parents.to_vec();
                match (parents.binary_search(&group), joins) {
                    (Err(at), true) => parents.insert(at, group),
                    (Ok(at), false) => drop(parents.remove(at)),
                    (Ok(_), true) | (Err(_), false) => {}
                }
                *slot = Slot::Group(Arc::new(Group { parents: parents.into(), revision, ..Group::clone(inner) }));
            }
            Slot::Empty | Slot::Organization(_) | Slot::Account(_) | Slot::Gone(_) => {}
        }
    }

    fn put(&mut self, number: Number, slot: Slot) {
        if let Some(place) = self.slots.at(number) {
            *place = slot;
        }
    }

    /// The number of a role's name; new names get the next one.
    fn role_number(&mut self, name: &str) -> u32 {
        self.role_named(name).unwrap_or_else(|| {
            let number = self.roles.add(name);
            self.index.insert(self.index.hash(KeyKind::Role, name), number);
            number
        })
    }

    /// The number of a product's name; new names get the next one.
    fn product_number(&mut self, name: &str) -> u32 {
        self.product_named(name).unwrap_or_else(|| {
            let number = self.products.add(name);
            self.index.insert(self.index.hash(KeyKind::Product, name), number);
            number
        })
    }
}

/// Names in the order in which they appeared.
#[derive(Clone, Debug, Default)]
struct Names {
    names: Pages<Option<Arc<str>>>,
    count: u32,
}

impl Names {
    fn get(&self, number: u32) -> &str {
        self.names.get(number).and_then(Option::as_deref).unwrap_or("")
    }

    fn add(&mut self, name: &str) -> u32 {
        let number = self.count;
        self.count += 1;
        if let Some(place) = self.names.at(number) {
            *place = Some(name.into());
        }
        number
    }
}
