//! Random people, filters as text, orders and pages: SQLite, the reference, and a plain look at each document agree.

use cedargate::domain::Number;
use cedargate::scim::filter::{Filter, matches, sort_path, to_predicate};
use cedargate::scim::schema::{Definition, ResourceKind, Schemas, Tolerance};
use cedargate::store::{Content, Kind, Page, Position, Query};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use super::{Bench, create};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const WORDS: [&str; 7] = ["", "a", "B", "ab", "Straße", "STRASSE", "é"];
const PATHS: [&str; 9] = [
    "userName",
    "title",
    "name.familyName",
    "active",
    "emails",
    "emails.type",
    "emails.value",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
    "urn:ietf:params:scim:schemas:core:2.0:User:nickName",
];
const ORDERS: [&str; 7] = ["userName", "TITLE", "name.familyName", "emails", "emails.type", "active", PATHS[7]];

fn person() -> impl Strategy<Value = Value> {
    let word = || proptest::option::of(select(&WORDS[..]));
    let emails = proptest::collection::vec((word(), word()), 0..3);
    (word(), word(), proptest::option::of(any::<bool>()), emails, word()).prop_map(
        |(title, family, active, emails, department)| {
            let emails: Vec<Value> = emails.iter().map(|(value, kind)| json!({"value": value, "type": kind})).collect();
            json!({"title": title, "name": {"familyName": family}, "active": active, "emails": emails,
            ENTERPRISE: {"department": department}})
        },
    )
}

fn filter() -> impl Strategy<Value = String> {
    let operator = || select(vec!["eq", "NE", "co", "sw", "ew", "gt", "ge", "lt", "le"]);
    let literal = || select(vec!["\"a\"", "\"b\"", "\"strasse\"", "\"\"", "\"u1\"", "null", "true"]);
    let term = prop_oneof![
        4 => (select(&PATHS[..]), operator(), literal()).prop_map(|(path, operator, literal)| format!("{path} {operator} {literal}")),
        1 => select(&PATHS[..]).prop_map(|path| format!("{path} pr")),
        2 => (operator(), literal(), operator(), literal())
            .prop_map(|(one, a, other, b)| format!("emails[type {one} {a} and not (value {other} {b})]")),
    ];
    term.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(|terms| format!("({})", terms.join(" and "))),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(|terms| format!("({})", terms.join(" or "))),
            inner.prop_map(|term| format!("not ({term})")),
        ]
    })
}

/// A filter, an order, and a page size.
type Ask = (String, Option<(&'static str, bool)>, u64);

#[test]
fn lists_answer_as_a_look_at_every_document_would() {
    let schemas = Schemas::builtin().unwrap();
    let definition = schemas.definition(ResourceKind::User);
    let order = proptest::option::of((select(&ORDERS[..]), any::<bool>()));
    let asks = proptest::collection::vec((filter(), order, 1..4_u64), 30);
    let config = Config { cases: 24, failure_persistence: None, max_shrink_iters: 100, ..Config::default() };
    TestRunner::new(config)
        .run(&(proptest::collection::vec(person(), 1..12), asks), |(people, asks)| {
            let documents: Vec<Map<String, Value>> =
                people.iter().enumerate().map(|(n, person)| document(definition, n, person)).collect();
            let stores = [Bench::in_memory(), Bench::on_sqlite()];
            for store in &stores {
                let steps = documents.iter().enumerate().map(|(n, document)| {
                    let content = Content { index: definition.index(document), ..Content::default() };
                    create(Kind::User, &format!("id{n}"), content)
                });
                store.commit(steps.collect()).unwrap();
            }
            for ask in &asks {
                agree(definition, &documents, &stores, ask)?;
            }
            Ok(())
        })
        .unwrap();
}

fn document(definition: &Definition, number: usize, person: &Value) -> Map<String, Value> {
    let mut person = person.clone();
    person["userName"] = json!(format!("U{number}"));
    definition.parse(&person, &Tolerance::GENERIC).unwrap().into_map()
}

fn agree(
    definition: &Definition,
    documents: &[Map<String, Value>],
    stores: &[Bench; 2],
    (text, order, count): &Ask,
) -> Result<(), TestCaseError> {
    let filter = Filter::parse(text, &Tolerance::GENERIC).unwrap();
    let Ok(predicate) = to_predicate(&filter, definition, &Tolerance::GENERIC, &|_| None) else { return Ok(()) };
    let plain = documents.iter().zip(1..).filter(|(document, _)| matches(&filter, definition, document));
    let plain: Vec<Number> = plain.map(|(_, number)| number).collect();
    let sort = order.map(|(path, descending)| (sort_path(path, definition).unwrap(), descending));
    let ask = |store: &Bench, page| {
        let query = Query {
            kind: Kind::User,
            organization: Some("one".into()),
            predicate: Some(predicate.clone()),
            sort: sort.clone(),
            page,
        };
        store.wait(store.store.query(query)).unwrap()
    };
    let mut orders = Vec::new();
    for store in stores {
        let whole = ask(store, Page { offset: 0, count: 100, after: None });
        prop_assert_eq!(whole.total, Some(plain.len() as u64), "{}", text);
        let whole: Vec<Number> = whole.records.iter().map(|record| record.number).collect();
        let mut sorted = whole.clone();
        sorted.sort_unstable();
        prop_assert_eq!(&sorted, &plain, "{}", text);
        // Pages by index and by position are the whole, cut.
        let (mut by_index, mut by_position, mut after) = (Vec::new(), Vec::new(), None);
        for offset in (0..=whole.len() as u64).step_by(usize::try_from(*count).unwrap()) {
            let page = ask(store, Page { offset, count: *count, after: None });
            by_index.extend(page.records.iter().map(|record| record.number));
        }
        loop {
            let page = ask(store, Page { offset: 0, count: *count, after });
            by_position.extend(page.records.iter().map(|record| record.number));
            let last = page.records.last().zip(page.keys.last());
            after = last.map(|(record, key)| Position { key: key.clone(), number: record.number });
            if !page.more {
                break;
            }
        }
        prop_assert_eq!(&by_index, &whole, "{}", text);
        prop_assert_eq!(&by_position, &whole, "{} {:?}", text, order);
        orders.push(whole);
    }
    prop_assert_eq!(&orders[0], &orders[1], "{:?}", order);
    Ok(())
}
