//! Promise 7: the provisioning log stands beside the ledger.

use cedargate::domain::{Revision, Timestamp};
use cedargate::store::{Event, EventQuery, Retention, Step, StoreError};

use super::{Bench, on_every_store, user};

on_every_store! {
    an_event_is_committed_with_its_write_and_falls_with_it
    events_alone_take_no_revision
    every_condition_narrows_and_pages_join
    old_and_excess_events_go_and_numbers_never_come_again
    notes_are_kept_replaced_and_dropped
}

fn event(id: &str, connection: &str, at: i64) -> Event {
    Event {
        id: id.to_owned(),
        connection: connection.to_owned(),
        at: Timestamp(at),
        kind: "request".to_owned(),
        status: 200,
        resource: String::new(),
        body: format!("{{\"id\":\"{id}\"}}"),
        before: None,
    }
}

fn ids(bench: &Bench, query: EventQuery) -> Vec<String> {
    let limit = if query.limit == 0 { 100 } else { query.limit };
    let found = bench.wait(bench.store.events(EventQuery { limit, ..query })).unwrap();
    found.into_iter().map(|logged| logged.event.id).collect()
}

fn all() -> EventQuery {
    EventQuery::default()
}

fn an_event_is_committed_with_its_write_and_falls_with_it(bench: &Bench) {
    let whole = Event { before: Some("{}".into()), resource: "u".into(), status: 201, ..event("e1", "c1", 5) };
    let committed = bench.commit(vec![user("ada"), Step::Event(whole.clone())]).unwrap();
    assert_eq!((committed.revision.number, committed.outcomes.len()), (1, 2));
    assert_eq!((committed.outcomes[1].number, committed.outcomes[1].changed), (0, false));
    let found = bench.wait(bench.store.events(EventQuery { limit: 9, ..all() })).unwrap();
    assert_eq!((found.len(), &found[0].event), (1, &whole), "every member comes back");

    let refused = bench.commit(vec![Step::Event(event("e2", "c1", 6)), user("ada")]);
    assert!(matches!(refused, Err(StoreError::Exists { .. })));
    assert_eq!(ids(bench, all()), ["e1"]);
    assert_eq!(bench.wait(bench.store.head()).unwrap().revision.number, 1);
    bench.store.verify().unwrap();
}

fn events_alone_take_no_revision(bench: &Bench) {
    let before = bench.wait(bench.store.head()).unwrap();
    let committed = bench.commit(vec![Step::Event(event("e1", "c1", 5)), Step::Event(event("e2", "c1", 5))]).unwrap();
    assert_eq!(committed.revision, Revision { epoch: 1, number: 0 });
    assert_eq!(bench.wait(bench.store.head()).unwrap(), before);
    assert!(bench.applied.lock().unwrap().is_empty(), "decisions hear nothing of it");
    assert_eq!(ids(bench, all()), ["e2", "e1"], "newest first");
    assert_eq!(bench.commit(vec![user("ada")]).unwrap().revision.number, 1);
    bench.store.verify().unwrap();
}

fn every_condition_narrows_and_pages_join(bench: &Bench) {
    let events = [
        event("a", "c1", 10),
        Event { status: 409, resource: "u1".into(), ..event("b", "c1", 20) },
        Event { before: Some("x".into()), resource: "u1".into(), ..event("c", "c1", 30) },
        event("d", "c2", 40),
        Event { kind: "alarm".into(), ..event("e", "c1", 50) },
    ];
    bench.commit(events.into_iter().map(Step::Event).collect()).unwrap();
    let of = |connection: &str| Some(connection.to_owned());
    let cases: [(EventQuery, &[&str]); 11] = [
        (all(), &["e", "d", "c", "b", "a"]),
        (EventQuery { connection: of("c1"), ..all() }, &["e", "c", "b", "a"]),
        (EventQuery { id: of("d"), ..all() }, &["d"]),
        (EventQuery { kind: of("alarm"), ..all() }, &["e"]),
        (EventQuery { success: Some(false), ..all() }, &["b"]),
        (EventQuery { success: Some(true), resource: of("u1"), ..all() }, &["c"]),
        (EventQuery { since: Some(Timestamp(20)), until: Some(Timestamp(40)), ..all() }, &["c", "b"]),
        (EventQuery { reversible: true, connection: of("c1"), ..all() }, &["c"]),
        (EventQuery { limit: 2, ..all() }, &["e", "d"]),
        (EventQuery { below: Some(4), limit: 2, ..all() }, &["c", "b"]),
        (EventQuery { after: Some(3), ..all() }, &["e", "d"]),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(bench, query.clone()), expected, "{query:?}");
    }
}

fn old_and_excess_events_go_and_numbers_never_come_again(bench: &Bench) {
    let events = (0..10).map(|n| Step::Event(event(&format!("e{n}"), if n % 2 == 0 { "c1" } else { "c2" }, n)));
    bench.commit(events.collect()).unwrap();
    let forget = |keep, before| {
        let retention = Retention { connection: "c1".into(), keep, before: Timestamp(before) };
        bench.commit(vec![Step::ForgetEvents(retention)]).unwrap();
    };
    forget(100, 2);
    assert_eq!(ids(bench, all()), ["e9", "e8", "e7", "e6", "e5", "e4", "e3", "e2"]);
    forget(2, 0);
    assert_eq!(ids(bench, all()), ["e9", "e8", "e7", "e6", "e5", "e3"], "only that connection's are counted");
    forget(0, 100);
    assert!(ids(bench, all()).is_empty());
    bench.commit(vec![Step::Event(event("next", "c1", 1))]).unwrap();
    let found = bench.wait(bench.store.events(EventQuery { limit: 9, ..all() })).unwrap();
    assert_eq!(found[0].number, 11);
}

fn notes_are_kept_replaced_and_dropped(bench: &Bench) {
    let note = |key: &str, value: Option<&str>| {
        let step = Step::Note { key: key.to_owned(), value: value.map(str::to_owned) };
        assert_eq!(bench.commit(vec![step]).unwrap().revision.number, 0);
    };
    for (key, value) in [("a/1", "x"), ("a/2", "y"), ("a%", "z"), ("b", "w"), ("a/1", "x2")] {
        note(key, Some(value));
    }
    let notes = |prefix: &str| bench.wait(bench.store.notes(prefix)).unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(notes("a/"), [pair("a/1", "x2"), pair("a/2", "y")]);
    note("a/1", None);
    note("none", None);
    assert_eq!(notes("a/"), [pair("a/2", "y")]);
    assert_eq!(notes("").len(), 3);
}
