//! Random transactions and random searches: SQLite and the reference answer alike, and their ledgers are equal to
//! the last hash.

use cedargate::domain::{Image, Number};
use cedargate::store::{
    Comparison, Content, IndexEntry, Kind, Page, Position, Predicate, Query, Step, Transaction, UniqueKey,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::{Bench, State, group, group_image, join, transaction, user, user_image};

/// Small worlds, so that everything meets everything.
const NUMBERS: Number = 9;
/// Those that [`start`] creates, and one that is none.
const GROUPS: [Number; 4] = [4, 5, 6, 1];
const IDS: [&str; 5] = ["a", "ab", "b", "é", "%"];
const PATHS: [&str; 6] = ["m", "m.x", "m.y", "n", "id", "meta.created"];
const VALUES: [&str; 7] = ["", "a", "ab", "ba", "é", "_", "\u{10FFFF}"];
const ORGANIZATIONS: [&str; 2] = ["one", "two"];

fn text(from: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(from).prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = Number> {
    1..=NUMBERS
}

fn image() -> impl Strategy<Value = Option<Image>> {
    option::weighted(
        0.7,
        (any::<bool>(), text(&IDS))
            .prop_map(|(person, name)| if person { user_image(&name) } else { group_image(&name) }),
    )
}

fn content() -> impl Strategy<Value = Content> {
    let entry =
        (text(&PATHS), 0..3_u32, text(&VALUES)).prop_map(|(path, element, value)| IndexEntry { path, element, value });
    let key = (text(&["u", "v"]), text(&VALUES)).prop_map(|(scope, value)| UniqueKey { scope, value });
    (vec(entry, 0..6), vec(key, 0..2), image(), any::<u8>()).prop_map(|(index, unique, image, draw)| Content {
        document: draw.to_string(),
        state: (draw / 2).to_string(),
        index,
        unique,
        image,
        deleted: draw % 8 == 0,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let expected = || option::weighted(0.3, 1..4_u64);
    proptest::prop_oneof![
        4 => (select(&[Kind::User, Kind::Group, Kind::Group, Kind::Connection][..]), text(&IDS), text(&ORGANIZATIONS), content())
            .prop_map(|(kind, id, organization, content)| Step::Create { kind, id, organization, content }),
        2 => (number(), expected(), content())
            .prop_map(|(number, expected, content)| Step::Replace { number, expected, content }),
        4 => (select(&GROUPS[..]), expected(), vec(1..=6_u32, 0..4), vec(number(), 0..4))
            .prop_map(|(group, expected, add, remove)| Step::Members { group, expected, add, remove }),
        1 => (number(), expected()).prop_map(|(number, expected)| Step::Remove { number, expected }),
    ]
}

/// Somebody to begin with, so that most steps find what they name.
fn start() -> Transaction {
    let people = ["x", "y", "z"].map(user);
    let groups = ["x", "y", "z"].map(group);
    let steps = people.into_iter().chain(groups).chain([join(4, &[1, 2, 5]), join(5, &[2, 3])]);
    transaction("start", 0, steps.collect())
}

fn transactions() -> impl Strategy<Value = Vec<Transaction>> {
    // Few names for operations, so that some come twice.
    let one = (0..60_u32, 0..40_i64, vec(step(), 1..4))
        .prop_map(|(operation, at, steps)| transaction(&operation.to_string(), at, steps));
    vec(one, 1..30)
}

fn condition() -> impl Strategy<Value = Predicate> {
    let comparison = select(
        &[
            Comparison::Equal,
            Comparison::Contains,
            Comparison::StartsWith,
            Comparison::EndsWith,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
            Comparison::Less,
            Comparison::LessOrEqual,
        ][..],
    );
    proptest::prop_oneof![
        4 => (text(&PATHS), comparison, text(&VALUES))
            .prop_map(|(path, comparison, value)| Predicate::Compare { path, comparison, value }),
        1 => text(&["m", "n", "meta", "m.x"]).prop_map(|path| Predicate::Present { path }),
    ]
}

/// Combines conditions; the depth stays within the limits.
fn combined(leaf: impl Strategy<Value = Predicate> + 'static) -> impl Strategy<Value = Predicate> {
    leaf.prop_recursive(3, 8, 3, |inner| {
        proptest::prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Predicate::All),
            vec(inner.clone(), 0..3).prop_map(Predicate::Any),
            inner.prop_map(|inner| Predicate::Not(Box::new(inner))),
        ]
    })
}

fn predicate() -> impl Strategy<Value = Predicate> {
    combined(proptest::prop_oneof![
        6 => condition(),
        2 => (text(&["m", "n", "meta"]), combined(condition()))
            .prop_map(|(path, inner)| Predicate::Element { path, inner: Box::new(inner) }),
        1 => number().prop_map(Predicate::Member),
        1 => number().prop_map(Predicate::MemberOf),
        1 => Just(Predicate::HasMembers),
        1 => Just(Predicate::HasGroups),
    ])
}

fn query() -> impl Strategy<Value = Query> {
    let page = proptest::prop_oneof![
        2 => Just(Page { offset: 0, count: 100, after: None }),
        2 => (0..4_u64, 0..4_u64, option::of((option::of(text(&VALUES)), number())))
            .prop_map(|(offset, count, after)| {
                let after = after.map(|(key, number)| Position { key, number });
                Page { offset, count, after }
            }),
    ];
    (
        select(&[Kind::User, Kind::Group][..]),
        option::weighted(0.7, text(&ORGANIZATIONS)),
        option::weighted(0.9, predicate()),
        option::of((text(&PATHS), any::<bool>())),
        page,
    )
        .prop_map(|(kind, organization, predicate, sort, mut page)| {
            if let (None, Some(after)) = (&sort, &mut page.after) {
                after.key = None;
            }
            Query { kind, organization, predicate, sort, page }
        })
}

#[test]
fn both_stores_answer_alike() {
    let config = Config { cases: 32, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let strategy = (transactions(), vec(query(), 40));
    TestRunner::new(config)
        .run(&strategy, |(transactions, queries)| {
            alike(&transactions, &queries);
            Ok(())
        })
        .unwrap();
}

/// The same answers to everything that can be asked.
fn alike(transactions: &[Transaction], queries: &[Query]) {
    let (reference, sqlite) = (Bench::in_memory(), Bench::on_sqlite());
    for transaction in [start()].iter().chain(transactions) {
        let expected = reference.wait(reference.store.commit(transaction.clone()));
        assert_eq!(sqlite.wait(sqlite.store.commit(transaction.clone())), expected, "{transaction:?}");
    }
    let both = [&reference, &sqlite];
    let [tail, other] = both.map(|bench| bench.wait(bench.store.tail(0, 100)).unwrap());
    assert_eq!(other, tail);
    let [head, other] = both.map(|bench| bench.store.verify().unwrap());
    assert_eq!(other, head);
    let [state, other] = both.map(Bench::state);
    assert_eq!(other, state);
    let mut folded = State::default();
    tail.iter().for_each(|entry| folded.fold(&entry.changes));
    // Random steps also put what has no image (a connection) into groups: a projection has no place for that.
    folded.members.retain(|(_, member)| folded.images.contains_key(member));
    assert_eq!(folded, state);
    assert_eq!(*sqlite.applied.lock().unwrap(), *reference.applied.lock().unwrap());

    let everybody: Vec<Number> = (0..=20).collect();
    let [records, other] = both.map(|bench| bench.wait(bench.store.records(everybody.clone())).unwrap());
    assert_eq!(other, records);
    let [above, other] = both.map(|bench| bench.wait(bench.store.groups_above(everybody.clone())).unwrap());
    assert_eq!(other, above);
    for &number in &everybody {
        let [groups, other] = both.map(|bench| bench.wait(bench.store.groups_of(number)).unwrap());
        assert_eq!(other, groups);
        let [members, other] = both.map(|bench| bench.wait(bench.store.members(number, Some(2), 3)).unwrap());
        assert_eq!(other, members);
    }
    for value in VALUES {
        let key = UniqueKey { scope: "u".to_owned(), value: value.to_owned() };
        let [holder, other] = both.map(|bench| bench.wait(bench.store.holder(key.clone())).unwrap());
        assert_eq!(other, holder);
    }
    for query in queries {
        let [found, other] = both.map(|bench| bench.wait(bench.store.query(query.clone())));
        assert_eq!(other, found, "{query:?}");
    }
}
