#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::json;

use super::*;
use crate::scim::schema::{Resource, ResourceKind, Schemas};
use crate::store::{Comparison, IndexEntry};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const CEDARGATE: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";

fn predicate(kind: ResourceKind, text: &str, tolerance: &Tolerance) -> Result<Predicate, ScimError> {
    let schemas = Schemas::builtin().unwrap();
    let numbers = |id: &str| (id == "known").then_some(7);
    to_predicate(&Filter::parse(text, tolerance)?, schemas.definition(kind), tolerance, &numbers)
}

fn user(text: &str) -> Predicate {
    predicate(ResourceKind::User, text, &Tolerance::GENERIC).unwrap()
}

fn compare(path: &str, comparison: Comparison, value: &str) -> Predicate {
    Predicate::Compare { path: path.to_owned(), comparison, value: value.to_owned() }
}

fn equal(path: &str, value: &str) -> Predicate {
    compare(path, Comparison::Equal, value)
}

fn present(path: &str) -> Predicate {
    Predicate::Present { path: path.to_owned() }
}

fn not(inner: Predicate) -> Predicate {
    Predicate::Not(Box::new(inner))
}

#[test]
fn comparisons_are_typed_by_the_schema() {
    let manager = format!("{}:manager.value", ENTERPRISE.to_lowercase());
    let element = |path: &str, inner| Predicate::Element { path: path.to_owned(), inner: Box::new(inner) };
    let later = crate::store::time_key(crate::domain::Timestamp(1000));
    let cases = [
        ("userName eq \"JDoe\"", equal("username", "jdoe")),
        ("urn:ietf:params:scim:schemas:core:2.0:User:USERNAME eq JDoe", equal("username", "jdoe")),
        ("externalId eq \"Ab\"", equal("externalid", "Ab")),
        ("externalId eq 0012", equal("externalid", "0012")),
        ("id eq \"X\"", equal("id", "X")),
        ("emails eq \"A@x\"", equal("emails.value", "a@x")),
        ("emails.value co \"A\"", compare("emails.value", Comparison::Contains, "a")),
        (&format!("{ENTERPRISE}:manager eq \"M\""), equal(&manager, "M")),
        ("active eq \"True\"", equal("active", "true")),
        ("active ne false", not(equal("active", "false"))),
        ("title ne \"x\"", not(equal("title", "x"))),
        ("title eq null", not(present("title"))),
        ("title ne null", present("title")),
        ("title eq \"\"", Predicate::Any(vec![not(present("title")), equal("title", "")])),
        ("meta.lastModified gt \"1970-01-01T00:00:01Z\"", compare("meta.lastmodified", Comparison::Greater, &later)),
        ("name pr", present("name")),
        ("meta.resourceType eq \"User\"", Predicate::All(vec![])),
        ("meta.resourceType eq \"Group\"", Predicate::Any(vec![])),
        ("schemas eq \"urn:ietf:params:scim:schemas:core:2.0:User\"", Predicate::All(vec![])),
        ("id pr", Predicate::All(vec![])),
        ("emails.type ne \"work\"", element("emails", not(equal("emails.type", "work")))),
        (
            "emails[type eq \"work\"].value eq \"x\"",
            element("emails", Predicate::All(vec![equal("emails.type", "work"), equal("emails.value", "x")])),
        ),
        ("name[givenName eq \"x\"]", equal("name.givenname", "x")),
        ("groups eq \"known\"", Predicate::MemberOf(7)),
        ("groups.value eq \"stranger\"", Predicate::Any(vec![])),
        ("not (groups pr)", not(Predicate::HasGroups)),
    ];
    for (text, expected) in cases {
        assert_eq!(user(text), expected, "{text}");
    }
}

#[test]
fn members_are_found_by_number() {
    let group = |text| predicate(ResourceKind::Group, text, &Tolerance::GENERIC).unwrap();
    let both = Predicate::All(vec![equal("id", "g"), Predicate::Member(7)]);
    assert_eq!(group("id eq \"g\" and members eq \"known\""), both);
    assert_eq!(group("members[value eq \"known\"]"), Predicate::Member(7));
    let any = Predicate::Any(vec![Predicate::Member(7), Predicate::Any(vec![])]);
    assert_eq!(group("members[value eq \"known\" or value eq \"x\"]"), any);
    assert_eq!(group("members pr"), Predicate::HasMembers);
    let schemas = Schemas::builtin().unwrap();
    let filter =
        Filter::parse("members eq \"a\" or members[value eq \"b\"] or displayName eq \"c\"", &Tolerance::STRICT);
    assert_eq!(filter.unwrap().member_ids(schemas.definition(ResourceKind::Group)), ["a", "b"]);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let cases = [
        ("nothing eq \"x\"", "invalidFilter"),
        ("name eq \"x\"", "invalidFilter"),
        ("active gt true", "invalidFilter"),
        ("active eq \"maybe\"", "invalidFilter"),
        ("active co \"t\"", "invalidFilter"),
        ("title gt null", "invalidFilter"),
        ("meta.created sw \"2026-01-01T00:00:00Z\"", "invalidFilter"),
        ("meta.created gt \"yesterday\"", "invalidFilter"),
        ("meta.version eq \"1\"", "invalidFilter"),
        ("x509Certificates.value gt \"a\"", "invalidFilter"),
        ("userName[value eq \"x\"]", "invalidFilter"),
        ("emails[nothing eq \"x\"]", "invalidFilter"),
        ("groups.display eq \"x\"", "invalidFilter"),
        ("groups co \"x\"", "invalidFilter"),
        ("groups[value eq \"a\" and value eq \"b\"]", "invalidFilter"),
        ("password eq \"x\"", "sensitive"),
        ("password pr", "sensitive"),
        ("not (userName eq \"a\" or PASSWORD sw \"x\")", "sensitive"),
        ("urn:ietf:params:scim:schemas:core:2.0:User:password eq \"x\"", "sensitive"),
    ];
    for (text, word) in cases {
        let error = predicate(ResourceKind::User, text, &Tolerance::GENERIC).expect_err(text);
        assert_eq!(error.scim_type, Some(word), "{text}");
        assert_eq!(error.status.as_u16(), if word == "sensitive" { 403 } else { 400 });
    }
    assert!(predicate(ResourceKind::User, "active eq \"true\"", &Tolerance::STRICT).is_err());
    assert!(predicate(ResourceKind::User, "title eq 7", &Tolerance::STRICT).is_err());
}

#[test]
fn predicates_stay_within_the_limits_of_stores() {
    let many = |term: &str, count: usize| vec![term; count].join(" or ");
    predicate(ResourceKind::User, &many("title eq \"x\"", 64), &Tolerance::STRICT).unwrap();
    let deep = |depth: usize| format!("{}title pr{}", "not (".repeat(depth), ")".repeat(depth));
    predicate(ResourceKind::User, &deep(31), &Tolerance::STRICT).unwrap();
    for text in [many("title eq \"\"", 33), deep(32)] {
        let error = predicate(ResourceKind::User, &text, &Tolerance::STRICT).unwrap_err();
        assert_eq!(error.scim_type, Some("invalidFilter"));
    }
}

#[test]
fn sorting_has_a_path_or_a_reason() {
    let schemas = Schemas::builtin().unwrap();
    let definition = schemas.definition(ResourceKind::User);
    let path = |text: &str| sort_path(text, definition).map_err(|error| error.scim_type.unwrap());
    assert_eq!(path("NAME.familyName").unwrap(), "name.familyname");
    assert_eq!(path("emails").unwrap(), "emails.value");
    assert_eq!(path("meta.created").unwrap(), "meta.created");
    assert_eq!(path("id").unwrap(), "id");
    assert_eq!(path("password"), Err("sensitive"));
    for text in ["nothing", "name", "groups", "meta.version", "schemas", "meta"] {
        assert_eq!(path(text), Err("invalidPath"), "{text}");
    }
}

/// What a store does with a predicate, over the entries of one resource.
fn holds(predicate: &Predicate, entries: &[IndexEntry]) -> bool {
    let below = |path: &str, entry: &IndexEntry| entry.path == path || entry.path.starts_with(&format!("{path}."));
    match predicate {
        Predicate::All(inner) => inner.iter().all(|predicate| holds(predicate, entries)),
        Predicate::Any(inner) => inner.iter().any(|predicate| holds(predicate, entries)),
        Predicate::Not(inner) => !holds(inner, entries),
        Predicate::Present { path } => entries.iter().any(|entry| below(path, entry)),
        Predicate::Compare { path, comparison, value } => entries.iter().any(|entry| {
            entry.path == *path
                && match comparison {
                    Comparison::Equal => entry.value == *value,
                    Comparison::Contains => entry.value.contains(value.as_str()),
                    Comparison::StartsWith => entry.value.starts_with(value.as_str()),
                    Comparison::EndsWith => entry.value.ends_with(value.as_str()),
                    Comparison::Greater => entry.value > *value,
                    Comparison::GreaterOrEqual => entry.value >= *value,
                    Comparison::Less => entry.value < *value,
                    Comparison::LessOrEqual => entry.value <= *value,
                }
        }),
        Predicate::Element { path, inner } => {
            let mine: Vec<&IndexEntry> = entries.iter().filter(|entry| below(path, entry)).collect();
            let numbers: std::collections::BTreeSet<u32> = mine.iter().map(|entry| entry.element).collect();
            numbers.into_iter().any(|number| {
                let of_element = mine.iter().filter(|entry| entry.element == number);
                holds(inner, &of_element.map(|entry| (*entry).clone()).collect::<Vec<_>>())
            })
        }
        Predicate::Member(_) | Predicate::MemberOf(_) | Predicate::HasMembers | Predicate::HasGroups => false,
    }
}

fn any_document() -> impl Strategy<Value = Value> {
    let text = || prop::option::of(prop::sample::select(vec!["a", "B", "ab", "ß", "SS", "work"]));
    let email = (text(), text(), prop::option::of(Just(true)))
        .prop_map(|(value, label, _)| json!({"value": value, "type": label, "primary": null}));
    let accounts = prop::collection::vec(prop::sample::select(vec!["a", "A", "ab"]), 0..3);
    (text(), text(), prop::option::of(any::<bool>()), prop::collection::vec(email, 0..3), accounts, text()).prop_map(
        |(title, given, active, emails, accounts, manager)| {
            json!({"userName": "u", "title": title, "name": {"givenName": given}, "active": active, "emails": emails,
                CEDARGATE: {"accounts": accounts}, ENTERPRISE: {"manager": manager}})
        },
    )
}

fn any_text() -> impl Strategy<Value = String> {
    let operator = prop::sample::select(Operator::ALL.to_vec());
    let literal = prop::sample::select(vec!["\"a\"", "\"B\"", "\"ss\"", "\"work\"", "\"\"", "null", "true", "false"]);
    let accounts = format!("{CEDARGATE}:accounts");
    let manager = format!("{ENTERPRISE}:manager");
    let paths =
        ["title", "name.givenName", "active", "emails", "emails.type", "emails.value", &accounts, &manager, "name"];
    let path = prop::sample::select(paths.map(str::to_owned).to_vec());
    let inner = prop::sample::select(vec![
        "emails[type OP LIT]".to_owned(),
        "emails[type OP LIT and value pr]".to_owned(),
        "emails[not (type OP LIT) or value OP LIT]".to_owned(),
        "emails[type pr].value OP LIT".to_owned(),
        format!("{accounts}[value OP LIT]"),
    ]);
    let term = prop_oneof![
        3 => (path.clone(), operator.clone(), literal.clone()).prop_map(|(p, o, l)| format!("{p} {} {l}", o.word())),
        1 => path.prop_map(|path| format!("{path} pr")),
        3 => (inner, operator, literal).prop_map(|(i, o, l)| i.replace("OP", o.word()).replace("LIT", l)),
    ];
    term.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|terms| format!("({})", terms.join(" and "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|terms| format!("({})", terms.join(" or "))),
            inner.prop_map(|term| format!("not ({term})")),
        ]
    })
}

#[test]
fn the_index_and_a_plain_look_agree() {
    let schemas = Schemas::builtin().unwrap();
    let definition = schemas.definition(ResourceKind::User);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut hits, mut misses) = (0, 0);
    for _ in 0..3000 {
        let document = any_document().new_tree(&mut runner).unwrap().current();
        let text = any_text().new_tree(&mut runner).unwrap().current();
        let resource: Resource = definition.parse(&document, &Tolerance::GENERIC).unwrap();
        let filter = Filter::parse(&text, &Tolerance::GENERIC).unwrap();
        let Ok(predicate) = to_predicate(&filter, definition, &Tolerance::GENERIC, &|_| None) else { continue };
        let found = holds(&predicate, &definition.index(resource.as_map()));
        assert_eq!(found, matches(&filter, definition, resource.as_map()), "{text} on {document}");
        if found { hits += 1 } else { misses += 1 }
    }
    assert!(hits > 300 && misses > 300, "{hits} {misses}");
}
