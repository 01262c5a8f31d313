//! Everybody from the store, for a start: each thread makes records and hashes of its own stretch; what they share
//! is told in parts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Snapshot;
use super::index::{Hasher, Keys};
use super::records::Person;
use crate::domain::{Image, Number, UserImage};
use crate::store::{Projection, Store, StoreError, Stretch};

/// How many people are brought in at once.
const PART: usize = 4_096;

/// Reads everybody; of these connections the `externalId`s are kept.
pub(super) fn load(store: &dyn Store, connections: &[String]) -> Result<Snapshot, StoreError> {
    let loading = Loading(Mutex::new(Snapshot::empty(connections)));
    let revision = store.project(&loading)?;
    let mut snapshot = loading.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    snapshot.revision = revision;
    Ok(snapshot)
}

/// What all stretches are brought into.
struct Loading(Mutex<Snapshot>);

impl Loading {
    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Projection for Loading {
    fn stretch(&self) -> Box<dyn Stretch + '_> {
        let hasher = self.lock().index.hasher().clone();
        Box::new(Part { whole: self, hasher, roles: HashMap::new(), people: Vec::with_capacity(PART) })
    }
}

/// People who are not brought in yet.
struct Part<'a> {
    whole: &'a Loading,
    hasher: Hasher,
    /// Numbers of role names that were met.
    roles: HashMap<String, u32>,
    people: Vec<(Arc<Person>, Keys)>,
}

impl Stretch for Part<'_> {
    fn resource(&mut self, number: Number, image: Image, groups: &[Number]) {
        match &image {
            Image::User(user) => self.user(number, user, groups),
            Image::Group(group) => self.whole.lock().fold_group(number, group, groups.into(), 0),
            Image::Organization(_) | Image::Account(_) | Image::Members(_) | Image::Gone => {
                self.whole.lock().fold(number, &image, 0);
            }
        }
    }

    fn end(mut self: Box<Self>) {
        self.bring_in();
    }
}

impl Part<'_> {
    fn user(&mut self, number: Number, image: &UserImage, groups: &[Number]) {
        let roles: Vec<u32> = image.roles.iter().map(|name| self.role(name)).collect();
        let Some(person) = Person::new(number, image, groups, &roles, 0) else {
            return self.whole.lock().put_unreadable(number, 0);
        };
        if !image.external_ids.is_empty() {
            self.whole.lock().external.put(number, &image.external_ids);
        }
        let keys = self.hasher.keys(&person);
        self.people.push((Arc::new(person), keys));
        if self.people.len() >= PART {
            self.bring_in();
        }
    }

    fn role(&mut self, name: &str) -> u32 {
        if let Some(number) = self.roles.get(name) {
            return *number;
        }
        let number = self.whole.lock().role_number(name);
        self.roles.insert(name.to_owned(), number);
        number
    }

    fn bring_in(&mut self) {
        let mut snapshot = self.whole.lock();
        for (person, keys) in self.people.drain(..) {
            snapshot.put_person(person, keys);
        }
    }
}
