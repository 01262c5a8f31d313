//! The engine's plans, and that nothing from outside becomes SQL.

use rusqlite::{Connection, params_from_iter};

use super::*;
use crate::domain::Timestamp;
use crate::store::Page;
use crate::store::sqlite::migrations;

fn ledger() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrations::migrate(&mut connection, &migrations::ALL, Timestamp(0)).unwrap();
    connection
}

/// The engine's plan, one step a line.
fn plan(statement: &Statement) -> String {
    let connection = ledger();
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", statement.text)).unwrap();
    let steps = explained.query_map(params_from_iter(&statement.values), |row| row.get::<_, String>(3)).unwrap();
    steps.map(|step| step.unwrap() + "\n").collect()
}

fn query(organization: Option<&str>, predicate: Option<Predicate>, after: Option<u32>) -> Query {
    let page = Page { offset: 0, count: 10, after: after.map(Position::from) };
    let organization = organization.map(str::to_owned);
    Query { kind: Kind::User, organization, predicate, sort: None, page }
}

fn compared(path: &str, comparison: Comparison) -> Predicate {
    Predicate::Compare { path: path.to_owned(), comparison, value: "x".to_owned() }
}

#[test]
fn listing_walks_a_narrow_index_in_order() {
    let within = plan(&numbers(&query(Some("one"), None, Some(7)), None));
    assert!(within.contains("COVERING INDEX resource_listed (kind=? AND organization=? AND rowid>?)"), "{within}");
    let all = |kind| plan(&numbers(&Query { kind, ..query(None, None, Some(7)) }, None));
    let (everybody, groups) = (all(Kind::User), all(Kind::Group));
    assert!(everybody.contains("SEARCH r USING INTEGER PRIMARY KEY (rowid>?)"), "{everybody}");
    assert!(groups.contains("COVERING INDEX resource_listed_everywhere (kind=? AND rowid>?)"), "{groups}");
    assert!(![within, everybody, groups].concat().contains("TEMP B-TREE"));
    for (organization, by) in [(Some("one"), "(kind=? AND organization=?)"), (None, "(kind=?)")] {
        let counted = plan(&count(&query(organization, None, None), None));
        assert!(counted.contains(&format!("SEARCH t USING PRIMARY KEY {by}")), "{counted}");
        assert!(counted.contains("rowid>?)"), "of the tail alone: {counted}");
        assert!(!counted.contains("SCAN r") && !counted.contains("SCAN t"), "{counted}");
    }
}

#[test]
fn a_value_that_is_looked_up_comes_from_the_index() {
    for (predicate, index) in [
        (compared("username", Comparison::Equal), "SEARCH l USING PRIMARY KEY (path=? AND value=?)"),
        (compared("username", Comparison::StartsWith), "SEARCH l USING PRIMARY KEY (path=? AND value>? AND value<?)"),
        (compared("id", Comparison::Equal), "sqlite_autoindex_resource_1 (kind=? AND id=?)"),
        (Predicate::Member(1), "membership_member (member_number=?)"),
        (Predicate::MemberOf(1), "PRIMARY KEY (group_number=?)"),
    ] {
        let query = query(Some("one"), Some(predicate), None);
        let candidates = candidates(query.kind, query.predicate.as_ref().unwrap()).unwrap();
        for statement in [numbers(&query, Some(&candidates)), count(&query, Some(&candidates))] {
            let plan = plan(&statement);
            assert!(plan.starts_with("SEARCH r USING INTEGER PRIMARY KEY (rowid=?)\n"), "{plan}");
            assert!(plan.contains(index), "{plan}");
            assert!(!plan.contains("SCAN"), "{plan}");
        }
    }
}

#[test]
fn other_conditions_look_at_one_resource_at_a_time() {
    let inner = Box::new(Predicate::Not(Box::new(compared("emails.value", Comparison::Less))));
    for wanted in [
        Predicate::Not(Box::new(compared("username", Comparison::Equal))),
        compared("username", Comparison::Contains),
        compared("username", Comparison::EndsWith),
        compared("username", Comparison::Greater),
        Predicate::Present { path: "emails".to_owned() },
        Predicate::Element { path: "emails".to_owned(), inner },
    ] {
        let mut query = query(Some("one"), Some(wanted.clone()), None);
        query.sort = Some(("username".to_owned(), false));
        assert_eq!(candidates(Kind::User, &wanted), None);
        let plan = plan(&numbers(&query, None));
        assert!(plan.contains("COVERING INDEX resource_listed (kind=? AND organization=?)"), "{plan}");
        for line in plan.lines().filter(|line| line.contains(" a ") || line.contains(" e ")) {
            assert!(line.contains("USING PRIMARY KEY (number=? AND path=?"), "{plan}");
        }
        assert!(!plan.contains("SCAN"), "{plan}");
    }
}

#[test]
fn the_most_selective_condition_gives_the_candidates() {
    let both = Predicate::All(vec![
        compared("a", Comparison::Contains),
        compared("b", Comparison::StartsWith),
        compared("c", Comparison::Equal),
    ]);
    assert_eq!(candidates(Kind::User, &both), candidates(Kind::User, &compared("c", Comparison::Equal)));
    let open = Predicate::Any(vec![compared("c", Comparison::Equal), compared("d", Comparison::Contains)]);
    assert_eq!(candidates(Kind::User, &open), None, "one open branch opens all");
}

#[test]
fn nothing_from_outside_becomes_sql() {
    let evil = "x' OR 1=1; --";
    let wanted = Predicate::All(vec![
        Predicate::Compare { path: evil.into(), comparison: Comparison::Contains, value: evil.into() },
        Predicate::Element { path: evil.into(), inner: Box::new(Predicate::Present { path: evil.into() }) },
    ]);
    let mut query = query(Some(evil), Some(wanted), None);
    query.sort = Some((evil.to_owned(), true));
    for statement in [numbers(&query, None), count(&query, None)] {
        assert!(!statement.text.contains("OR 1=1"));
        assert_eq!(statement.text.matches('?').count(), statement.values.len());
        ledger().prepare(&statement.text).unwrap();
    }
}

#[test]
fn a_prefix_ends_where_the_next_begins() {
    assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
    assert_eq!(after_prefix("\u{D7FF}").as_deref(), Some("\u{E000}"));
    assert_eq!(after_prefix("a\u{10FFFF}").as_deref(), Some("b"));
    assert_eq!(after_prefix("\u{10FFFF}"), None);
    assert_eq!(after_prefix(""), None);
}
