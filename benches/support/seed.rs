//! Puts a world into a ledger through the library's own store, many creates to a transaction.
//!
//! Documents, states, keys and images are those that SCIM would leave behind. Of the attribute index only what
//! identity providers search by is written (login, e-mail, externalId), since decisions and starts read none of it.

use std::path::Path;
use std::sync::Arc;

use cedargate::clock::SystemClock;
use cedargate::domain::{
    AccessMethods, AccountImage, AdministrationLevel, GroupImage, Image, Number, OrganizationImage, Timestamp,
    UserImage,
};
use cedargate::store::sqlite::{Options, SqliteStore};
use cedargate::store::{Content, IndexEntry, Kind, Step, Store, Transaction, UniqueKey};
use serde_json::{Value, json};

use crate::workload::{Failure, ORGANIZATION, World, mix};

/// Resources or members in one transaction.
const STEPS: usize = 5_000;
/// When everything was made: a moment long past, so that runs do not differ.
const AT: Timestamp = Timestamp(1_790_000_000_000);
/// The writer that the states name.
const WRITER: &str = "0190a000-0000-7000-8000-000000000001";
const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
const GROUP_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";

/// Opens the ledger of a folder.
pub fn open(folder: &Path) -> Result<SqliteStore, Failure> {
    Ok(SqliteStore::open(Options {
        folder: folder.to_owned(),
        clock: Arc::new(SystemClock),
        apply: None,
        on_fatal: None,
    })?)
}

/// Writes the whole world into an empty folder.
pub async fn seed(world: &World, folder: &Path) -> Result<(), Failure> {
    let store = open(folder)?;
    let mut writer = Writer { store: &store, steps: Vec::new(), work: 0, operations: 0 };
    writer.add(1, organization()).await?;
    for account in 0..world.accounts {
        writer.add(1, create_account(world, account)).await?;
    }
    for group in 0..world.groups {
        let content = group_content(&group_id(group), &format!("Group {group}"), &[world.role_of_group(group)]);
        writer.add(1, create(Kind::Group, group_id(group), content)).await?;
    }
    let mut members: Vec<Vec<Number>> = vec![Vec::new(); usize::try_from(world.groups)?];
    for user in 0..world.users {
        writer.add(1, create(Kind::User, user_id(user), user_content(world, user, true))).await?;
        for group in world.groups_of(user) {
            if let Some(list) = members.get_mut(usize::try_from(group)?) {
                list.push(world.user_number(user));
            }
        }
    }
    for (group, add) in (0..).zip(members) {
        for part in add.chunks(STEPS) {
            let group = world.group_number(group);
            let step = Step::Members { group, expected: None, add: part.to_vec(), remove: Vec::new() };
            writer.add(part.len(), step).await?;
        }
    }
    writer.flush().await?;
    let last = world.user_number(world.users.saturating_sub(1));
    let found = store.records(vec![last]).await?;
    if found.first().is_none_or(|record| record.id != user_id(world.users.saturating_sub(1))) {
        return Err("the ledger did not number people as expected; the workload must be adapted".into());
    }
    Ok(())
}

struct Writer<'a> {
    store: &'a SqliteStore,
    steps: Vec<Step>,
    work: usize,
    operations: u64,
}

impl Writer<'_> {
    async fn add(&mut self, work: usize, step: Step) -> Result<(), Failure> {
        self.steps.push(step);
        self.work += work;
        if self.work >= STEPS { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.operations += 1;
        self.work = 0;
        let steps = std::mem::take(&mut self.steps);
        self.store.commit(transaction(format!("seed-{}", self.operations), steps)).await?;
        Ok(())
    }
}

/// A transaction at the world's time.
pub fn transaction(operation: String, steps: Vec<Step>) -> Transaction {
    Transaction { operation, at: AT, steps }
}

/// A new resource of the one organization.
pub fn create(kind: Kind, id: String, content: Content) -> Step {
    Step::Create { kind, id, organization: ORGANIZATION.to_owned(), content }
}

fn organization() -> Step {
    let content = Content {
        document: json!({"name": ORGANIZATION}).to_string(),
        image: Some(Image::Organization(OrganizationImage { id: ORGANIZATION.to_owned() })),
        ..Content::default()
    };
    Step::Create { kind: Kind::Organization, id: ORGANIZATION.to_owned(), organization: String::new(), content }
}

fn create_account(world: &World, account: u64) -> Step {
    let (id, products) = (World::account_id(account), world.products_of(account));
    let content = Content {
        document: json!({"name": id, "products": products}).to_string(),
        image: Some(Image::Account(AccountImage { id: id.clone(), organization: 1, products })),
        ..Content::default()
    };
    create(Kind::Account, id, content)
}

/// A group that gives these roles.
pub fn group_content(id: &str, name: &str, roles: &[&str]) -> Content {
    let granted: Value = roles.iter().map(|role| ((*role).to_owned(), json!(WRITER))).collect();
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    let document = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", GROUP_EXTENSION],
        "displayName": name,
        GROUP_EXTENSION: {"roles": roles},
    });
    let assigned = !roles.is_empty();
    let (id, organization, accounts) = (id.to_owned(), 1, Vec::new());
    let image = GroupImage { id, organization, name: name.to_owned(), roles, assigned, accounts };
    Content {
        document: document.to_string(),
        state: json!({"creator": WRITER, "grants": {"roles": granted}}).to_string(),
        index: vec![entry("displayname", name.to_lowercase())],
        unique: vec![key(&format!("group-name:{ORGANIZATION}"), &name.to_lowercase())],
        image: Some(Image::Group(image)),
        deleted: false,
    }
}

/// A person as SCIM would have written them.
pub fn user_content(world: &World, user: u64, active: bool) -> Content {
    let username = World::username(user);
    let email = format!("{username}@example.com");
    let (roles, accounts) = (world.roles_of(user), world.accounts_of(user));
    let account_ids: Vec<String> = accounts.iter().map(|account| World::account_id(*account)).collect();
    let document = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", USER_EXTENSION],
        "userName": username,
        "name": {"givenName": "Jo", "familyName": format!("Doe {user}")},
        "emails": [{"value": email, "type": "work", "primary": true}],
        "active": active,
        "roles": roles.iter().map(|role| json!({"value": role})).collect::<Vec<_>>(),
        USER_EXTENSION: {"accessMethods": ["dashboard", "api"], "accounts": account_ids},
    });
    let granted =
        |names: &mut dyn Iterator<Item = String>| -> Value { names.map(|name| (name, json!(WRITER))).collect() };
    let state = json!({
        "username": username, "creator": WRITER, "external": {WRITER: username}, "active": active,
        "grants": {
            "roles": granted(&mut roles.iter().map(|role| (*role).to_owned())),
            "accounts": granted(&mut account_ids.iter().cloned()),
        },
    });
    let image = UserImage {
        id: user_id(user),
        organization: 1,
        username: username.clone(),
        login: None,
        active,
        locked: false,
        level: AdministrationLevel::BasicUser,
        methods: AccessMethods { dashboard: true, api: true },
        roles: roles.into_iter().map(str::to_owned).collect(),
        assigned: true,
        accounts: accounts.into_iter().map(|account| world.account_number(account)).collect(),
        password_changed_at: None,
        linked_again: None,
        external_ids: std::collections::BTreeMap::new(),
    };
    Content {
        document: document.to_string(),
        state: state.to_string(),
        index: vec![
            entry("username", username.clone()),
            entry("emails.value", email.clone()),
            entry("externalid", username.clone()),
        ],
        unique: vec![key("username", &username), key("email", &email)],
        image: Some(Image::User(image)),
        deleted: false,
    }
}

fn entry(path: &str, value: String) -> IndexEntry {
    IndexEntry { path: path.to_owned(), element: 0, value }
}

fn key(scope: &str, value: &str) -> UniqueKey {
    UniqueKey { scope: scope.to_owned(), value: value.to_owned() }
}

pub fn group_id(group: u64) -> String {
    identifier(0xb, group)
}

pub fn user_id(user: u64) -> String {
    identifier(0xa, user)
}

/// A UUID of version 7 in form, from an index.
fn identifier(kind: u64, index: u64) -> String {
    let spread = mix(index, kind);
    format!(
        "0190a000-{:04x}-7{:03x}-8{:03x}-{kind:01x}{index:011x}",
        spread >> 48,
        spread & 0xfff,
        (spread >> 12) & 0xfff
    )
}
