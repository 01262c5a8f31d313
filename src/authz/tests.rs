//! What holds whatever the policies say: walls, order, keys that cannot be met twice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panic")]

use std::sync::Arc;

use super::{Authz, AuthzConfig};
use crate::clock::{HandClock, SeededRandom, Sources};
use crate::directory::Directory;
use crate::domain::{
    AccessMethods, AccountImage, AdministrationLevel, Asked, Change, Channel, ContextValue, Decision, EntityName,
    GroupImage, Image, MemberChange, Number, OrganizationImage, Question, Reason, Revision, Subject, Timestamp,
    UserImage,
};
use crate::policy::{Bundle, Live, Source};
use crate::telemetry::Metrics;
use crate::token::Verifier;

/// Organizations 1 (acme) and 2 (globex), accounts 3 and 4, mia 5 of acme, gus 6 of globex, the group 7 of acme.
struct World {
    directory: Arc<Directory>,
    authz: Authz,
    revision: std::cell::Cell<u64>,
}

fn person(number: Number, name: &str, organization: Number, account: Number) -> UserImage {
    UserImage {
        id: format!("019aa8e1-0000-7000-8000-00000000000{number}"),
        organization,
        username: name.into(),
        login: None,
        active: true,
        locked: false,
        level: AdministrationLevel::AccountAdmin,
        methods: AccessMethods { dashboard: true, api: true },
        roles: Vec::new(),
        assigned: false,
        accounts: vec![account],
        password_changed_at: None,
        linked_again: None,
        external_ids: std::collections::BTreeMap::new(),
    }
}

impl World {
    /// With the shipped schema and routes, and these policies alone.
    fn with(policies: &str) -> Self {
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
        let bundle = Arc::new(Bundle::load(&Source::Folder(folder.path().into())).unwrap());
        let directory = Arc::new(Directory::empty());
        let sources = Sources {
            clock: Arc::new(HandClock::new(Timestamp(1_800_000_000_000))),
            random: Arc::new(SeededRandom::new(1)),
        };
        let live = Arc::new(Live::new(bundle));
        let metrics = Arc::new(Metrics::new(&[]));
        let verifier = Arc::new(Verifier::default());
        let authz = Authz::new(&AuthzConfig::default(), Arc::clone(&directory), live, verifier, &sources, metrics);
        let world = Self { directory, authz, revision: std::cell::Cell::new(0) };
        let organization = |id: &str| Image::Organization(OrganizationImage { id: id.into() });
        let account = |id: &str, organization| {
            Image::Account(AccountImage { id: id.into(), organization, products: vec!["UC".into()] })
        };
        let group = GroupImage {
            id: "019aa8e1-0000-7000-8000-000000000007".into(),
            organization: 1,
            name: "orderers".into(),
            roles: vec!["Ordering".into()],
            assigned: false,
            accounts: Vec::new(),
        };
        for (number, image) in (1..).zip([
            organization("acme"),
            organization("globex"),
            account("100", 1),
            account("900", 2),
            Image::User(person(5, "mia", 1, 3)),
            Image::User(person(6, "gus", 2, 4)),
            Image::Group(group),
        ]) {
            world.change(number, image);
        }
        world
    }

    fn change(&self, number: Number, image: Image) {
        self.revision.set(self.revision.get() + 1);
        self.directory.apply(Revision { epoch: 1, number: self.revision.get() }, &[Change { number, image }]);
    }

    fn ask(&self, asked: Asked<'_>, context: &[(String, ContextValue)]) -> Decision {
        let subject = Subject::User("mia");
        let question = Question { subject, asked, channel: Channel::Api, context, least_revision: None };
        self.authz.decide(&question).unwrap()
    }

    fn get(&self, path: &str) -> Reason {
        self.ask(Asked::Request { method: "GET", host: None, path }, &[]).reason
    }
}

const EVERYTHING: &str = r#"@id("everything") permit (principal, action, resource);"#;

#[test]
fn the_wall_between_organizations_needs_no_policy() {
    let world = World::with(EVERYTHING);
    assert_eq!(world.get("/api/accounts/100/orders"), Reason::Policy);
    for path in
        ["/api/accounts/900/orders", "/api/accounts/nowhere/orders", "/api/v1/users/gus", "/api/v1/users/nobody"]
    {
        assert_eq!(world.get(path), Reason::AccountNotGranted, "{path}");
        assert_eq!(world.get(path), Reason::AccountNotGranted, "{path}, once more");
    }
    let named = |id: &str| {
        let asked = Asked::Action {
            action: "createUser",
            properties: &[],
            resource: Some(EntityName::new("Organization", id)),
        };
        world.ask(asked, &[])
    };
    assert_eq!(named("acme").reason, Reason::Policy);
    assert_eq!(named("globex").reason, Reason::AccountNotGranted);
    assert_eq!(&*named("globex").resource.unwrap().id, "globex");
    let context = [("account".to_owned(), ContextValue::Text("900".into()))];
    let asked = Asked::Request { method: "POST", host: None, path: "/api/v1/users" };
    assert_eq!(world.ask(asked, &context).reason, Reason::AccountNotGranted);
}

#[test]
fn what_is_forbidden_on_the_organization_is_forbidden_on_its_accounts() {
    let world = World::with(&format!(
        r#"{EVERYTHING} @id("freeze") forbid (principal, action == Action::"createUser", resource is Organization);"#
    ));
    let asked = Asked::Request { method: "POST", host: None, path: "/api/v1/users" };
    let context = [("account".to_owned(), ContextValue::Text("100".into()))];
    for context in [&[][..], &context] {
        let decision = world.ask(asked, context);
        assert_eq!((decision.reason, &*decision.policies[0]), (Reason::Forbidden, "freeze"));
    }
}

#[test]
fn a_kept_answer_is_not_found_after_any_change_that_it_rests_on() {
    let rule = r#"@id("ordering") @reason("role") permit (principal in Role::"Ordering", action, resource is Account)
        when { resource.products.contains(Product::"UC") };"#;
    let world = World::with(rule);
    let path = "/api/accounts/100/orders";
    let denied = [Reason::RoleMissing, Reason::ProductInactive, Reason::NotCovered];
    assert!(denied.contains(&world.get(path)));
    let members = |added: Vec<Number>, removed: Vec<Number>| Image::Members(MemberChange { added, removed });
    world.change(7, members(vec![5], Vec::new()));
    assert_eq!((world.get(path), world.get(path)), (Reason::Role, Reason::Role));
    let account = |products: &[&str]| {
        let products = products.iter().map(ToString::to_string).collect();
        Image::Account(AccountImage { id: "100".into(), organization: 1, products })
    };
    world.change(3, account(&[]));
    assert_eq!(world.get(path), Reason::ProductInactive);
    world.change(3, account(&["UC"]));
    assert_eq!(world.get(path), Reason::Role);
    world.change(7, Image::Gone);
    assert!(denied.contains(&world.get(path)), "the group is gone, and so is what it gave");
    world.change(5, Image::User(UserImage { active: false, ..person(5, "mia", 1, 3) }));
    assert_eq!(world.get(path), Reason::Deactivated);
}

#[test]
fn an_account_that_is_not_named_is_asked_for_after_what_is_checked_before() {
    let world = World::with(&format!(
        r#"{EVERYTHING} @id("shut") @reason("wrong-access-method") forbid (principal, action, resource)
            when {{ context.channel == "dashboard" }};"#
    ));
    let asked = Asked::Action { action: "createOrder", properties: &[], resource: None };
    assert_eq!(world.ask(asked, &[]).reason, Reason::AccountRequired);
    let question = Question {
        subject: Subject::User("mia"),
        asked,
        channel: Channel::Dashboard,
        context: &[],
        least_revision: None,
    };
    assert_eq!(world.authz.decide(&question).unwrap().reason, Reason::WrongAccessMethod);
}

#[test]
fn searches_go_through_the_entities_that_a_bundle_lists() {
    let folder = "tests/cases/bundles/authzen-certification";
    let bundle = Arc::new(Bundle::load(&Source::Folder(folder.into())).unwrap());
    let directory = Arc::new(Directory::empty());
    let sources = Sources { clock: Arc::new(HandClock::new(Timestamp(0))), random: Arc::new(SeededRandom::new(1)) };
    let (live, metrics) = (Arc::new(Live::new(bundle)), Arc::new(Metrics::new(&[])));
    let verifier = Arc::new(Verifier::default());
    let authz = Authz::new(&AuthzConfig::default(), directory, live, verifier, &sources, metrics);
    let view = authz.view();
    let page = super::Page::ALL;
    let who = |action, record| {
        let resource = Some(EntityName::new("record", record));
        view.subjects("user", &Asked::Action { action, properties: &[], resource }, Channel::Api, &[], page)
            .unwrap()
            .ids
    };
    assert_eq!(who("read", "record-1"), ["alice", "bob"]);
    assert_eq!(who("write", "record-2"), ["bob"], "what entities.json says of bob");
    assert!(who("read", "record-9").is_empty() && who("burn", "record-1").is_empty());
    let on = |user, action| {
        let subject = Subject::Entity(EntityName::new("user", user));
        view.resources(subject, action, &[], "record", Channel::Api, &[], page).unwrap().ids
    };
    assert_eq!(on("alice", "read"), ["record-1", "record-2"]);
    assert_eq!(on("bob", "write"), ["record-2"]);
    assert!(on("mallory", "read").is_empty());
    let what = |user, record| {
        let (subject, resource) = (EntityName::new("user", user), Some(EntityName::new("record", record)));
        view.actions(Subject::Entity(subject), resource, Channel::Api, &[], page).unwrap().ids
    };
    assert_eq!(what("alice", "record-1"), ["read", "write"]);
    assert_eq!(what("bob", "record-2"), ["read", "write"]);
    assert!(what("alice", "record-9").is_empty());
    let first = view.resources(
        Subject::Entity(EntityName::new("user", "alice")),
        "read",
        &[],
        "record",
        Channel::Api,
        &[],
        super::Page { after: None, limit: 1 },
    );
    let first = first.unwrap();
    assert_eq!((first.ids, first.next.as_deref()), (vec!["record-1".to_owned()], Some("record-1")));
}
