//! The store's promises, held against every implementation: each check runs on the reference in memory and on
//! SQLite. What only SQLite can do (refuse, survive, be damaged) stands apart.

mod differential;
mod events;
mod log;
mod members;
mod people;
mod queries;
mod refusals;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use cedargate::clock::{HandClock, Sources};
use cedargate::domain::{AccessMethods, AdministrationLevel, Change, Image, Number, Revision, Timestamp, UserImage};
use cedargate::domain::{GroupImage, OrganizationImage};
use cedargate::store::memory::MemoryStore;
use cedargate::store::sqlite::{OpenError, Options, SqliteStore};
use cedargate::store::{
    ApplyHook, Committed, Content, IndexEntry, Kind, Projection, Step, Store, StoreError, Stretch, Transaction,
    UniqueKey,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What the apply hook was told, in order.
type Applied = Arc<Mutex<Vec<(Revision, Vec<Change>)>>>;

/// A store with a runtime around it, a source of operation ids and times, and an ear on the apply hook.
struct Bench {
    store: Box<dyn Store>,
    runtime: Runtime,
    moment: AtomicI64,
    applied: Applied,
    _folder: Option<TempDir>,
}

impl Bench {
    fn in_memory() -> Self {
        let store = MemoryStore::new();
        let (applied, hook) = ear();
        assert!(store.set_apply_hook(hook));
        Self::around(Box::new(store), applied, None)
    }

    fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).unwrap();
        let (applied, hook) = ear();
        assert!(store.set_apply_hook(hook));
        Self::around(Box::new(store), applied, Some(folder))
    }

    fn around(store: Box<dyn Store>, applied: Applied, folder: Option<TempDir>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        Self { store, runtime, moment: AtomicI64::new(1_000), applied, _folder: folder }
    }

    /// Waits for an answer; may be called from many threads.
    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Commits the steps under a new operation id, a second after the last.
    fn commit(&self, steps: Vec<Step>) -> Result<Committed, StoreError> {
        let moment = self.moment.fetch_add(1_000, Ordering::SeqCst);
        self.wait(self.store.commit(transaction(&format!("operation-{moment}"), moment, steps)))
    }

    /// Commits one step and answers the number that it concerned.
    fn step(&self, step: Step) -> Number {
        self.commit(vec![step]).unwrap().outcomes[0].number
    }

    fn version(&self, number: Number) -> u64 {
        self.wait(self.store.records(vec![number])).unwrap()[0].version
    }

    fn state(&self) -> State {
        projected(&*self.store).1
    }
}

/// An apply hook that remembers.
fn ear() -> (Applied, ApplyHook) {
    let applied = Applied::default();
    let heard = Arc::clone(&applied);
    (applied, Arc::new(move |revision, changes: &[Change]| heard.lock().unwrap().push((revision, changes.to_vec()))))
}

fn open(folder: &Path) -> Result<SqliteStore, OpenError> {
    let clock = Arc::new(HandClock::new(Timestamp(1_000)));
    SqliteStore::open(Options { folder: folder.to_owned(), clock, apply: None, on_fatal: None })
}

fn transaction(operation: &str, at: i64, steps: Vec<Step>) -> Transaction {
    Transaction { operation: operation.to_owned(), at: Timestamp(at), steps }
}

/// The state of everybody, as a start or a follower has it.
#[derive(Debug, Default, PartialEq)]
struct State {
    images: BTreeMap<Number, Image>,
    members: BTreeSet<(Number, Number)>,
}

/// Receives a state, in whatever stretches.
#[derive(Default)]
struct Receiver(Mutex<State>);

/// One stretch of it.
struct Part<'a>(State, &'a Receiver);

impl Projection for Receiver {
    fn stretch(&self) -> Box<dyn Stretch + '_> {
        Box::new(Part(State::default(), self))
    }
}

impl Stretch for Part<'_> {
    fn resource(&mut self, number: Number, image: Image, groups: &[Number]) {
        let Self(state, _) = self;
        assert!(state.images.last_key_value().is_none_or(|(last, _)| *last < number), "resources come by number");
        assert!(groups.is_sorted_by(|one, next| one < next), "groups come by number, each once");
        state.images.insert(number, image);
        state.members.extend(groups.iter().map(|group| (*group, number)));
    }

    fn end(self: Box<Self>) {
        let Self(state, whole) = *self;
        let mut whole = whole.0.lock().unwrap();
        for (number, image) in state.images {
            assert!(whole.images.insert(number, image).is_none(), "{number} came twice");
        }
        whole.members.extend(state.members);
    }
}

/// The state that a store projects, and its revision.
fn projected(store: &dyn Store) -> (Revision, State) {
    let receiver = Receiver::default();
    let revision = store.project(&receiver).unwrap();
    (revision, receiver.0.into_inner().unwrap())
}

impl State {
    /// Follows the change log, as a directory does.
    fn fold(&mut self, changes: &[Change]) {
        for Change { number, image } in changes {
            match image {
                Image::Members(delta) => {
                    self.members.retain(|(group, member)| group != number || !delta.removed.contains(member));
                    self.members.extend(delta.added.iter().map(|member| (*number, *member)));
                }
                Image::Gone => {
                    self.images.remove(number);
                    self.members.retain(|(group, member)| group != number && member != number);
                }
                Image::Organization(_) | Image::Account(_) | Image::User(_) | Image::Group(_) => {
                    self.images.insert(*number, image.clone());
                }
            }
        }
    }
}

fn user_image(name: &str) -> Image {
    Image::User(UserImage {
        id: name.to_owned(),
        organization: 1,
        username: name.to_owned(),
        login: None,
        active: true,
        locked: false,
        level: AdministrationLevel::BasicUser,
        methods: AccessMethods::DASHBOARD_ONLY,
        roles: vec!["Ordering".to_owned()],
        assigned: true,
        accounts: Vec::new(),
        password_changed_at: None,
        linked_again: None,
        external_ids: std::collections::BTreeMap::new(),
    })
}

fn group_image(name: &str) -> Image {
    Image::Group(GroupImage {
        id: name.to_owned(),
        organization: 1,
        name: name.to_owned(),
        roles: Vec::new(),
        assigned: false,
        accounts: vec![3],
    })
}

fn key(scope: &str, value: &str) -> UniqueKey {
    UniqueKey { scope: scope.to_owned(), value: value.to_owned() }
}

fn entry(path: &str, element: u32, value: &str) -> IndexEntry {
    IndexEntry { path: path.to_owned(), element, value: value.to_owned() }
}

/// A user's content: name as unique key, searchable and in the image.
fn user_content(name: &str) -> Content {
    Content {
        document: format!("{{\"userName\":\"{name}\"}}"),
        state: "{}".to_owned(),
        index: vec![entry("username", 0, name)],
        unique: vec![key("username", name)],
        image: Some(user_image(name)),
        deleted: false,
    }
}

/// Creates something in the organization `one`.
fn create(kind: Kind, id: &str, content: Content) -> Step {
    Step::Create { kind, id: id.to_owned(), organization: "one".to_owned(), content }
}

fn user(name: &str) -> Step {
    create(Kind::User, name, user_content(name))
}

fn group(name: &str) -> Step {
    create(Kind::Group, name, Content { image: Some(group_image(name)), ..Content::default() })
}

fn organization(id: &str) -> Step {
    let image = Image::Organization(OrganizationImage { id: id.to_owned() });
    create(Kind::Organization, id, Content { image: Some(image), ..Content::default() })
}

fn join(group: Number, add: &[Number]) -> Step {
    Step::Members { group, expected: None, add: add.to_vec(), remove: Vec::new() }
}

fn leave(group: Number, remove: &[Number]) -> Step {
    Step::Members { group, expected: None, add: Vec::new(), remove: remove.to_vec() }
}

/// Runs each check on every store.
macro_rules! on_every_store {
    ($($check:ident)*) => {
        mod memory {
            $(#[test] fn $check() { super::$check(&super::Bench::in_memory()) })*
        }
        mod sqlite {
            $(#[test] fn $check() { super::$check(&super::Bench::on_sqlite()) })*
        }
    };
}
use on_every_store;

#[test]
fn identifiers_of_the_system_serve_as_operation_ids() {
    let bench = Bench::in_memory();
    let operation = Sources::system().identifier();
    let committed = bench.wait(bench.store.commit(transaction(&operation, 1, vec![user("ada")]))).unwrap();
    assert_eq!(committed.revision, Revision { epoch: 1, number: 1 });
}
