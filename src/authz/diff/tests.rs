//! The comparison against asking both bundles about everybody, one by one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panic")]
#![allow(clippy::type_complexity, reason = "said once, where it is used")]

use super::*;
use crate::authz::search::tests::{NOSY, authz, bundle, directory};
use crate::clock::{HandClock, SeededRandom};
use crate::domain::Timestamp;

/// The clock of the worlds that the searches are tested on.
const NOW: i64 = 1_800_000_000_000;

fn sources() -> Sources {
    Sources { clock: Arc::new(HandClock::new(Timestamp(NOW))), random: Arc::new(SeededRandom::new(1)) }
}

type Counts = BTreeMap<(bool, Place, String), (usize, usize)>;

/// How many people, and accounts, each change of an endpoint touches.
fn counts(difference: &Difference, only: &BTreeSet<String>) -> Counts {
    let mut counts = Counts::new();
    for change in &difference.changes {
        for endpoint in change.endpoints.iter().filter(|name| only.contains(*name)) {
            let key = (change.gains, change.place, endpoint.clone());
            let before = counts.insert(key, (change.people.count, change.accounts.count));
            assert_eq!(before, None, "{endpoint} is told twice");
        }
    }
    counts
}

#[test]
fn a_comparison_finds_what_asking_one_by_one_finds() {
    let (old, new) = (bundle(None), bundle(Some(NOSY)));
    let difference = compare(&old, &new, &Arc::new(directory(11)), &sources()).unwrap();
    let sides = [authz(&old, directory(11)), authz(&new, directory(11))];
    let views = sides.each_ref().map(Authz::view);
    let snapshot = &views[0].snapshot;
    let mut touched: BTreeMap<(bool, Place, String), (BTreeSet<u32>, BTreeSet<u32>)> = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for route in old.routes().endpoints().iter().step_by(31) {
        let name = format!("{} {}", route.method, route.template);
        asked.insert(name.clone());
        let action = &old.action(route.action).unwrap().name;
        for person in snapshot.everybody() {
            let rights = snapshot.rights(person);
            let own = snapshot.accounts().filter(|account| account.organization == person.organization);
            let places: Vec<(Place, u32, Option<(&str, String)>)> = match route.target {
                Target::Account => own
                    .map(|account| {
                        let granted = rights.accounts.binary_search(&account.number).is_ok();
                        let place = if granted { Place::GrantedAccounts } else { Place::OtherAccounts };
                        (place, account.number, Some(("Account", account.id.to_string())))
                    })
                    .collect(),
                Target::User => vec![(Place::OwnProfile, 0, Some(("User", person.id())))],
                Target::Organization | Target::Entity(_) => vec![(Place::Organization, 0, None)],
            };
            for (place, account, resource) in places {
                for channel in [Channel::Api, Channel::Dashboard] {
                    let [before, after] = views.each_ref().map(|view| {
                        let resource = resource.as_ref().map(|(kind, id)| EntityName::new(kind, id));
                        let asked = Asked::Action { action, properties: &[], resource };
                        let id = person.id();
                        let subject = Subject::Id(&id);
                        let question = Question { subject, asked, channel, context: &[], least_revision: None };
                        view.decide(&question).unwrap().verdict() == Verdict::Permit
                    });
                    if before != after {
                        let (who, on) = touched.entry((after, place, name.clone())).or_default();
                        who.insert(person.number);
                        on.extend((account > 0).then_some(account));
                    }
                }
            }
        }
    }
    let brute: Counts = touched.into_iter().map(|(key, (who, on))| (key, (who.len(), on.len()))).collect();
    let mut found = counts(&difference, &asked);
    // Which colleague is asked about is open.
    found.retain(|(_, place, _), _| *place != Place::Colleagues);
    assert_eq!(found, brute);
    assert!(brute.len() > 10, "{brute:?}: the change changes too little");
}

#[test]
fn the_same_policies_change_nothing_and_cost_nothing() {
    let bundle = bundle(None);
    let difference = compare(&bundle, &bundle, &Arc::new(directory(2)), &sources()).unwrap();
    assert_eq!((difference.changes.len(), difference.decisions), (0, 0));
    assert!(difference.people > 20 && difference.endpoints >= 562);
}

#[test]
fn a_new_grant_is_told_on_made_up_people() {
    let old = bundle(None);
    let more = r#"@id("insight") permit (principal in Role::"Messaging Insights", action == Action::"listOrders",
        resource is Account) when { resource.products.contains(Product::"Messaging") };"#;
    let folder = tempfile::tempdir().unwrap();
    copy("policies", folder.path());
    std::fs::write(folder.path().join("more.cedar"), more).unwrap();
    let new = Arc::new(Bundle::load(&crate::policy::Source::Folder(folder.path().into())).unwrap());
    let people = Arc::new(made_up(&old, &new));
    let difference = compare(&old, &new, &people, &sources()).unwrap();
    let [gain] = difference.changes.as_slice() else { panic!("{:?}", difference.changes) };
    assert!(gain.gains && gain.place == Place::GrantedAccounts);
    assert_eq!(gain.endpoints, ["GET /accounts/{accountId}/orders"]);
    assert_eq!((gain.people.count, gain.accounts.count), (6, 2), "{gain:?}");
    assert!(gain.people.some.iter().all(|name| name.starts_with("Messaging Insights")));
    let back = compare(&new, &old, &people, &sources()).unwrap();
    assert!(back.changes.len() == 1 && !back.changes[0].gains && back.changes[0].people == gain.people);
}

/// To share an account with oneself one must have one: such people are told apart on their own profile.
#[test]
fn people_without_accounts_are_no_match_for_themselves() {
    let shares = r#"@id("shares") permit (principal is User, action == Action::"getUser", resource is User)
        when { principal.accounts.containsAny(resource.accounts) };"#;
    let nothing = r#"@id("nobody") permit (principal is User, action == Action::"createOrder", resource is Account)
        when { resource.products.isEmpty() };"#;
    let (old, new) = (bundle(Some(nothing)), bundle(Some(shares)));
    let person = |accounts: &[&str]| PersonCase {
        accounts: accounts.iter().map(ToString::to_string).collect(),
        ..PersonCase::default()
    };
    let mut made = CaseFile::default();
    made.accounts.insert("100".into(), AccountCase { products: vec!["UC".into()] });
    made.people = [("anna", person(&[])), ("ben", person(&["100"])), ("carl", person(&[]))]
        .map(|(name, person)| (name.to_owned(), person))
        .into();
    let difference = compare(&old, &new, &Arc::new(directory_of(&new, &made)), &sources()).unwrap();
    let own: Vec<&AccessChange> =
        difference.changes.iter().filter(|change| change.place == Place::OwnProfile).collect();
    let [gain] = own.as_slice() else { panic!("{:?}", difference.changes) };
    assert!(gain.gains);
    assert_eq!(gain.people.some, ["ben"]);
}

/// Folders of other applications are compared on their own entities, and on the people who ask about them.
#[test]
fn entities_of_the_bundles_own_are_compared_singly() {
    let load = |change: &dyn Fn(&std::path::Path)| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        copy_files("tests/cases/bundles/authzen-certification", folder.path());
        change(folder.path());
        Arc::new(Bundle::load(&crate::policy::Source::Folder(folder.path().into())).unwrap())
    };
    let edit = |file: &str, what: &str, with: &str| {
        let (file, what, with) = (file.to_owned(), what.to_owned(), with.to_owned());
        move |folder: &std::path::Path| {
            let text = std::fs::read_to_string(folder.join(&file)).unwrap();
            assert!(text.contains(&what));
            std::fs::write(folder.join(&file), text.replace(&what, &with)).unwrap();
        }
    };
    let nobody = Arc::new(Directory::empty());
    let told = |old: &Arc<Bundle>, new: &Arc<Bundle>| -> Vec<(bool, String, Vec<String>, Vec<String>)> {
        let difference = compare(old, new, &nobody, &sources()).unwrap();
        assert!(!difference.cut && difference.endpoints == 3);
        let told = difference.changes.into_iter().map(|change| {
            assert_eq!(change.place, Place::Entities);
            (change.gains, change.endpoints.concat(), change.people.some, change.accounts.some)
        });
        told.collect()
    };
    let old = load(&|_| {});
    assert_eq!(told(&old, &load(&|_| {})), []);
    let owned = |one: &str| vec![one.to_owned()];
    let bob = load(&edit(
        "records.cedar",
        "principal == user::\"alice\", action == Action::\"write\"",
        "principal == user::\"bob\", action == Action::\"write\"",
    ));
    assert_eq!(
        told(&old, &bob),
        [
            (false, "write".into(), owned("user::\"alice\""), owned("record::\"record-1\"")),
            (true, "write".into(), owned("user::\"bob\""), owned("record::\"record-1\"")),
        ]
    );
    // The policies stay; what they read changes.
    let demoted = load(&edit("entities.json", "\"admin\"", "\"guest\""));
    assert_eq!(told(&old, &demoted), [(false, "write".into(), owned("user::\"bob\""), owned("record::\"record-2\""))]);
}

fn copy_files(from: &str, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn copy(from: &str, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(entry.path().to_str().unwrap(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
