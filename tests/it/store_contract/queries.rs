//! Searches: each comparison, the connectives, elements, memberships, order, pages, walls.

use cedargate::domain::{Number, Timestamp};
use cedargate::store::{
    Comparison, Content, Found, Kind, MAX_DEPTH, MAX_TERMS, Page, Position, Predicate, Query, Step, StoreError,
    time_key,
};

use super::{Bench, create, entry, group, join, on_every_store, user, user_content};

on_every_store! {
    values_compare_by_code_points
    patterns_are_literal
    presence_reaches_below
    connectives_hold
    one_element_fulfils_the_whole_condition
    memberships_are_conditions
    own_columns_are_conditions
    order_puts_the_missing_last
    of_several_values_the_first_element_sorts
    pages_and_totals
    the_deleted_and_the_others_are_not_found
    too_much_is_refused
}

const WHOLE: Page = Page { offset: 0, count: 1_000, after: None };

pub(super) fn search(predicate: Option<Predicate>) -> Query {
    Query { kind: Kind::User, organization: Some("one".to_owned()), predicate, sort: None, page: WHOLE }
}

fn ask(bench: &Bench, query: Query) -> Found {
    bench.wait(bench.store.query(query)).unwrap()
}

fn numbers(found: &Found) -> Vec<Number> {
    found.records.iter().map(|record| record.number).collect()
}

fn find(bench: &Bench, predicate: Predicate) -> Vec<Number> {
    let found = ask(bench, search(Some(predicate)));
    assert_eq!(found.total, Some(found.records.len() as u64));
    numbers(&found)
}

pub(super) fn compare(path: &str, comparison: Comparison, value: &str) -> Predicate {
    Predicate::Compare { path: path.to_owned(), comparison, value: value.to_owned() }
}

pub(super) fn equal(bench: &Bench, path: &str, value: &str) -> Vec<Number> {
    find(bench, compare(path, Comparison::Equal, value))
}

fn present(path: &str) -> Predicate {
    Predicate::Present { path: path.to_owned() }
}

fn not(inner: Predicate) -> Predicate {
    Predicate::Not(Box::new(inner))
}

/// Creates one user for each list of values, all at the path `v`.
fn with_values(bench: &Bench, values: &[&str]) -> Vec<Number> {
    let one = |(place, value): (usize, &&str)| {
        let content = Content { index: vec![entry("v", 0, value)], ..Content::default() };
        bench.step(create(Kind::User, &format!("id-{place}"), content))
    };
    values.iter().enumerate().map(one).collect()
}

fn values_compare_by_code_points(bench: &Bench) {
    // In UTF-16 the last two would change places; with a locale the accents would.
    let values = ["", "B", "a", "ab", "b", "é", "\u{FFFD}", "\u{10000}"];
    let all = with_values(bench, &values);
    for (place, value) in values.iter().enumerate() {
        let ask = |comparison| find(bench, compare("v", comparison, value));
        assert_eq!(ask(Comparison::Equal), [all[place]]);
        assert_eq!(ask(Comparison::Less), all[..place]);
        assert_eq!(ask(Comparison::LessOrEqual), all[..=place]);
        assert_eq!(ask(Comparison::Greater), all[place + 1..]);
        assert_eq!(ask(Comparison::GreaterOrEqual), all[place..]);
    }
    assert_eq!(find(bench, compare("other", Comparison::GreaterOrEqual, "")), [] as [Number; 0]);
}

fn patterns_are_literal(bench: &Bench) {
    let values = ["a%b", "a_b", "axb", "a\\b", "A%B", "%", "x\0y", "0y", "\u{10FFFF}\u{10FFFF}", "\u{D7FF}z"];
    let all = with_values(bench, &values);
    for needle in ["", "%", "_", "a%", "a_", "%b", "b", "\\", "\0y", "\0", "y", "\u{10FFFF}", "\u{D7FF}", "zz"] {
        let expected = |holds: fn(&str, &str) -> bool| -> Vec<Number> {
            all.iter().zip(values).filter(|(_, value)| holds(value, needle)).map(|(number, _)| *number).collect()
        };
        let ask = |comparison| find(bench, compare("v", comparison, needle));
        assert_eq!(ask(Comparison::Contains), expected(|value, part| value.contains(part)), "contains {needle:?}");
        assert_eq!(ask(Comparison::StartsWith), expected(|value, part| value.starts_with(part)), "starts {needle:?}");
        assert_eq!(ask(Comparison::EndsWith), expected(|value, part| value.ends_with(part)), "ends {needle:?}");
    }
}

fn presence_reaches_below(bench: &Bench) {
    let paths = ["name", "name.given", "names", "name-x", "urn:x:2.0:user:team", "urn:x:2.0:user.team"];
    let all: Vec<Number> = paths
        .iter()
        .map(|path| {
            bench.step(create(Kind::User, path, Content { index: vec![entry(path, 0, "")], ..Content::default() }))
        })
        .collect();
    assert_eq!(find(bench, present("name")), [all[0], all[1]]);
    assert_eq!(find(bench, present("name.given")), [all[1]]);
    assert_eq!(find(bench, present("urn:x:2.0:user")), [all[4], all[5]]);
    assert_eq!(find(bench, present("nothing")), [] as [Number; 0]);
    for path in ["id", "meta", "meta.created", "meta.lastmodified"] {
        assert_eq!(find(bench, present(path)), all);
    }
}

fn connectives_hold(bench: &Bench) {
    let all = with_values(bench, &["a", "b", "c"]);
    let is = |value| compare("v", Comparison::Equal, value);
    assert_eq!(find(bench, not(is("a"))), all[1..]);
    assert_eq!(find(bench, not(not(is("a")))), all[..1]);
    assert_eq!(find(bench, Predicate::Any(vec![is("c"), is("a"), is("x")])), [all[0], all[2]]);
    assert_eq!(find(bench, Predicate::All(vec![not(is("a")), not(is("c"))])), [all[1]]);
    assert_eq!(find(bench, Predicate::All(vec![is("a"), is("b")])), [] as [Number; 0]);
    assert_eq!(find(bench, Predicate::All(vec![])), all);
    assert_eq!(find(bench, Predicate::Any(vec![])), [] as [Number; 0]);
    let mixed =
        Predicate::Any(vec![Predicate::All(vec![is("a"), not(present("w"))]), compare("v", Comparison::Greater, "b")]);
    assert_eq!(find(bench, mixed), [all[0], all[2]]);
    // Not of a path that nobody has holds for everybody.
    assert_eq!(find(bench, not(compare("w", Comparison::Equal, "a"))), all);
}

fn one_element_fulfils_the_whole_condition(bench: &Bench) {
    let emails = |values: &[(&str, &str)]| {
        let parts = values.iter().zip(0..).flat_map(|((kind, value), element)| {
            [entry("emails.type", element, kind), entry("emails.value", element, value)]
        });
        Content { index: parts.chain([entry("emailsx.type", 7, "work")]).collect(), ..Content::default() }
    };
    let one = bench.step(create(Kind::User, "one", emails(&[("work", "a"), ("home", "b")])));
    let two = bench.step(create(Kind::User, "two", emails(&[("home", "a")])));
    let none = bench.step(create(Kind::User, "none", Content::default()));
    let element = |inner| Predicate::Element { path: "emails".to_owned(), inner: Box::new(inner) };
    let kind = |value| compare("emails.type", Comparison::Equal, value);
    let value = |value| compare("emails.value", Comparison::Equal, value);

    assert_eq!(find(bench, Predicate::All(vec![kind("work"), value("b")])), [one], "any elements do without brackets");
    assert_eq!(find(bench, element(Predicate::All(vec![kind("work"), value("b")]))), [] as [Number; 0]);
    assert_eq!(find(bench, element(Predicate::All(vec![kind("home"), value("b")]))), [one]);
    assert_eq!(find(bench, element(Predicate::All(vec![kind("home"), value("a")]))), [two]);
    assert_eq!(find(bench, element(Predicate::Any(vec![kind("home"), value("a")]))), [one, two]);
    assert_eq!(find(bench, element(not(kind("home")))), [one], "an element that exists");
    assert_eq!(find(bench, not(element(kind("home")))), [none]);
    assert_eq!(find(bench, element(present("emails.type"))), [one, two]);
    assert_eq!(find(bench, element(Predicate::All(vec![]))), [one, two]);
    assert_eq!(find(bench, element(present("id"))), [] as [Number; 0], "within an element all paths are the index's");
}

fn memberships_are_conditions(bench: &Bench) {
    let (ada, eve) = (bench.step(user("ada")), bench.step(user("eve")));
    let (staff, all) = (bench.step(group("staff")), bench.step(group("all")));
    bench.commit(vec![join(staff, &[ada]), join(all, &[staff])]).unwrap();
    let groups = |predicate| numbers(&ask(bench, Query { kind: Kind::Group, ..search(Some(predicate)) }));
    assert_eq!(find(bench, Predicate::MemberOf(staff)), [ada]);
    assert_eq!(find(bench, Predicate::MemberOf(all)), [] as [Number; 0], "direct members only, of this kind");
    assert_eq!(groups(Predicate::MemberOf(all)), [staff]);
    assert_eq!(groups(Predicate::Member(ada)), [staff]);
    assert_eq!(groups(not(Predicate::Member(ada))), [all]);
    assert_eq!(groups(Predicate::HasMembers), [staff, all]);
    assert_eq!((find(bench, Predicate::HasGroups), groups(Predicate::HasGroups)), (vec![ada], vec![staff]));
    assert_eq!(find(bench, not(Predicate::HasGroups)), [eve]);
}

fn own_columns_are_conditions(bench: &Bench) {
    let (ada, eve) = (bench.step(user("ada")), bench.step(user("eve")));
    bench.step(Step::Replace { number: ada, expected: None, content: user_content("ada") });
    let at = |moment| time_key(Timestamp(moment));
    assert_eq!(equal(bench, "id", "eve"), [eve]);
    assert_eq!(equal(bench, "id", "Eve"), [] as [Number; 0]);
    assert_eq!(find(bench, compare("id", Comparison::StartsWith, "a")), [ada]);
    assert_eq!(find(bench, compare("id", Comparison::EndsWith, "e")), [eve]);
    assert_eq!(equal(bench, "meta.created", &at(2_000)), [eve]);
    assert_eq!(find(bench, compare("meta.created", Comparison::Less, &at(2_000))), [ada]);
    assert_eq!(find(bench, compare("meta.lastmodified", Comparison::Greater, &at(2_000))), [ada]);
    assert_eq!(find(bench, compare("meta.lastmodified", Comparison::StartsWith, &at(2_000))), [eve]);
    assert_eq!(find(bench, compare("meta.lastmodified", Comparison::Contains, "")), [ada, eve]);
    let sorted = |path: &str, descending| {
        numbers(&ask(bench, Query { sort: Some((path.to_owned(), descending)), ..search(None) }))
    };
    assert_eq!((sorted("id", true), sorted("meta.created", true)), (vec![eve, ada], vec![eve, ada]));
    assert_eq!(
        (sorted("meta.lastmodified", false), sorted("meta.lastmodified", true)),
        (vec![eve, ada], vec![ada, eve])
    );
}

fn order_puts_the_missing_last(bench: &Bench) {
    let first = bench.step(create(Kind::User, "missing-1", Content::default()));
    let valued = with_values(bench, &["b", "a", "", "b"]);
    let last = bench.step(create(Kind::User, "missing-2", Content::default()));
    let sorted = |descending| numbers(&ask(bench, Query { sort: Some(("v".to_owned(), descending)), ..search(None) }));
    assert_eq!(sorted(false), [valued[2], valued[1], valued[0], valued[3], first, last]);
    assert_eq!(sorted(true), [first, last, valued[0], valued[3], valued[1], valued[2]]);
    let unknown = Query { sort: Some(("w".to_owned(), true)), ..search(None) };
    assert_eq!(numbers(&ask(bench, unknown)), [vec![first], valued, vec![last]].concat());
}

fn of_several_values_the_first_element_sorts(bench: &Bench) {
    let several = |id: &str, values: &[(u32, &str)]| {
        let index = values.iter().map(|(element, value)| entry("v", *element, value)).collect();
        bench.step(create(Kind::User, id, Content { index, ..Content::default() }))
    };
    let one = several("one", &[(1, "a"), (0, "c")]);
    let two = several("two", &[(2, "b"), (2, "z"), (3, "a")]);
    let sorted = Query { sort: Some(("v".to_owned(), false)), ..search(None) };
    assert_eq!(numbers(&ask(bench, sorted)), [two, one]);
}

fn pages_and_totals(bench: &Bench) {
    let all = with_values(bench, &["a", "b", "a", "a", "b", "a"]);
    let page = |offset, count, after| {
        let after: Option<Number> = after;
        let page = Page { offset, count, after: after.map(Position::from) };
        let found = ask(bench, Query { page, ..search(None) });
        assert_eq!(found.total, after.is_none().then_some(6), "counted at the beginning only");
        numbers(&found)
    };
    assert_eq!(page(0, 2, None), all[..2]);
    assert_eq!(page(4, 9, None), all[4..]);
    assert_eq!(page(9, 9, None), [] as [Number; 0]);
    assert_eq!(page(0, 0, None), [] as [Number; 0]);
    assert_eq!(page(0, u64::MAX, None), all);
    assert_eq!(page(0, 2, Some(all[2])), all[3..5]);
    assert_eq!(page(1, 9, Some(all[2])), all[4..]);
    assert_eq!(page(u64::MAX, 9, Some(Number::MAX)), [] as [Number; 0]);
    let some =
        Query { page: Page { offset: 1, count: 2, after: None }, ..search(Some(compare("v", Comparison::Equal, "a"))) };
    let found = ask(bench, Query { sort: Some(("v".to_owned(), true)), ..some });
    assert_eq!((numbers(&found), found.total), (vec![all[2], all[3]], Some(4)));
}

fn the_deleted_and_the_others_are_not_found(bench: &Bench) {
    let (ada, eve) = (bench.step(user("ada")), bench.step(user("eve")));
    let foreign =
        Step::Create { kind: Kind::User, id: "x".into(), organization: "two".into(), content: user_content("x") };
    let foreign = bench.step(foreign);
    bench.step(group("staff"));
    let deleted = Content { deleted: true, ..user_content("ada") };
    bench.step(Step::Replace { number: ada, expected: None, content: deleted });
    assert_eq!(numbers(&ask(bench, search(None))), [eve]);
    assert_eq!(numbers(&ask(bench, Query { organization: None, ..search(None) })), [eve, foreign]);
    for name in ["ada", "x"] {
        assert_eq!(equal(bench, "username", name), [] as [Number; 0]);
        assert_eq!(equal(bench, "id", name), [] as [Number; 0]);
    }
    assert!(bench.wait(bench.store.get(Kind::User, "ada")).unwrap().unwrap().deleted);
    bench.step(Step::Replace { number: ada, expected: None, content: user_content("ada") });
    assert_eq!(equal(bench, "username", "ada"), [ada]);
}

fn too_much_is_refused(bench: &Bench) {
    let refused = |predicate| bench.wait(bench.store.query(search(Some(predicate))));
    let term = || present("v");
    let terms = |count| Predicate::Any((0..count).map(|_| term()).collect());
    assert!(refused(terms(MAX_TERMS)).is_ok());
    assert!(matches!(refused(terms(MAX_TERMS + 1)), Err(StoreError::TooComplex(_))));
    let deep = |depth: usize| (1..depth).fold(term(), |inner, _| not(inner));
    assert!(refused(deep(MAX_DEPTH)).is_ok());
    assert!(matches!(refused(deep(MAX_DEPTH + 1)), Err(StoreError::TooComplex(_))));
    let hollow = Predicate::All((0..=MAX_TERMS).map(|_| Predicate::All(vec![])).collect());
    assert!(matches!(refused(hollow), Err(StoreError::TooComplex(_))));
    let element = |inner| Predicate::Element { path: "emails".to_owned(), inner: Box::new(inner) };
    for inner in [element(term()), Predicate::Member(1), not(Predicate::MemberOf(1)), Predicate::HasGroups] {
        assert!(matches!(refused(element(inner)), Err(StoreError::Invalid(_))));
    }
}

/// More than SQLite looks up one by one, and less: both ways answer alike.
#[test]
fn a_selective_value_in_a_crowd() {
    let bench = &Bench::on_sqlite();
    let crowd = (0..10_050).map(|place| {
        let index = vec![entry("active", 0, "true"), entry("name", 0, &format!("n{place:05}"))];
        create(Kind::User, &format!("id-{place}"), Content { index, ..Content::default() })
    });
    bench.commit(crowd.collect()).unwrap();
    let active = compare("active", Comparison::Equal, "true");
    let found =
        ask(bench, Query { page: Page { offset: 10_000, count: 2, after: None }, ..search(Some(active.clone())) });
    assert_eq!((numbers(&found), found.total), (vec![10_001, 10_002], Some(10_050)));
    let both = Predicate::All(vec![active, compare("name", Comparison::StartsWith, "n0001")]);
    assert_eq!(find(bench, both), (11..=20).collect::<Vec<Number>>());
    assert_eq!(equal(bench, "name", "n10049"), [10_050]);
}
