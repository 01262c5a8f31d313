//! Promises 1, 3, 4, 5 and 6: whole or not at all, told before answered, one holder, one version more, once.

use std::collections::BTreeSet;
use std::sync::Barrier;

use cedargate::domain::{Change, Image, MemberChange, Revision, Timestamp};
use cedargate::store::{Content, Kind, Lookup, Step, StoreError};

use super::{Bench, create, entry, group, join, key, on_every_store, transaction, user, user_content, user_image};

on_every_store! {
    a_transaction_happens_whole_or_not_at_all
    steps_see_those_before
    ids_are_unique_within_a_kind
    a_unique_key_has_one_holder
    a_unique_key_passes_on_when_it_is_given_up
    of_many_who_claim_one_key_one_wins
    each_write_takes_a_version
    another_version_than_expected_changes_nothing
    an_operation_happens_once
    an_operation_that_failed_may_happen_later
    many_clients_get_revisions_without_gaps
    content_replaces_what_was_there
    an_image_that_ends_is_gone_in_the_log
    what_the_contract_excludes_is_refused
    a_stamp_changes_with_each_write_of_its_kind
    several_are_looked_up_at_once
}

fn replace(number: u32, expected: Option<u64>, content: Content) -> Step {
    Step::Replace { number, expected, content }
}

fn a_transaction_happens_whole_or_not_at_all(bench: &Bench) {
    let ada = bench.step(user("ada"));
    let head = bench.wait(bench.store.head()).unwrap();
    let failed = bench.commit(vec![
        user("eve"),
        group("staff"),
        replace(ada, None, Content::default()),
        join(ada + 2, &[ada]),
        user("ada"),
    ]);
    assert_eq!(failed, Err(StoreError::Exists { kind: Kind::User, id: "ada".to_owned() }));

    assert_eq!(bench.wait(bench.store.get(Kind::User, "eve")).unwrap(), None);
    assert_eq!(bench.wait(bench.store.holder(key("username", "eve"))).unwrap(), None);
    assert_eq!(bench.version(ada), 1);
    assert_eq!(bench.wait(bench.store.head()).unwrap(), head);
    assert_eq!(bench.applied.lock().unwrap().len(), 1);
    assert_eq!(bench.step(user("eve")), ada + 1, "numbers are dense");
}

fn steps_see_those_before(bench: &Bench) {
    let committed =
        bench.commit(vec![user("ada"), group("staff"), join(2, &[1]), replace(1, Some(1), user_content("bob"))]);
    let outcomes = committed.unwrap().outcomes;
    let seen: Vec<_> = outcomes.iter().map(|outcome| (outcome.number, outcome.version, outcome.changed)).collect();
    assert_eq!(seen, [(1, 1, true), (2, 1, true), (2, 2, true), (1, 2, true)]);
    let record = bench.wait(bench.store.get(Kind::User, "ada")).unwrap().unwrap();
    assert_eq!((record.version, record.organization.as_str()), (2, "one"));
    assert_eq!(record.document, user_content("bob").document);
}

fn ids_are_unique_within_a_kind(bench: &Bench) {
    bench.step(create(Kind::User, "x", Content::default()));
    bench.step(create(Kind::Group, "x", Content::default()));
    let again = bench.commit(vec![create(Kind::Group, "x", Content::default())]);
    assert_eq!(again, Err(StoreError::Exists { kind: Kind::Group, id: "x".to_owned() }));
}

fn a_unique_key_has_one_holder(bench: &Bench) {
    let ada = bench.step(user("ada"));
    let mut other = user_content("ada");
    let taken = Err(StoreError::Taken(key("username", "ada")));
    assert_eq!(bench.commit(vec![create(Kind::User, "other", other.clone())]), taken);
    // Deletion alone does not release it, and another scope does not hold it.
    bench.commit(vec![replace(ada, None, Content { deleted: true, ..user_content("ada") })]).unwrap();
    assert_eq!(bench.commit(vec![create(Kind::User, "other", other.clone())]), taken);
    other.unique = vec![key("login", "ada"), key("login", "ada")];
    let eve = bench.step(create(Kind::User, "other", other));
    let holder = bench.wait(bench.store.holder(key("username", "ada"))).unwrap().unwrap();
    assert_eq!((holder.number, holder.deleted), (ada, true));
    assert_eq!(bench.wait(bench.store.holder(key("login", "ada"))).unwrap().unwrap().number, eve);
    assert_eq!(bench.commit(vec![replace(eve, None, user_content("ada"))]), taken);
    assert_eq!(bench.version(eve), 1);
}

fn a_unique_key_passes_on_when_it_is_given_up(bench: &Bench) {
    let (ada, eve) = (bench.step(user("ada")), bench.step(user("eve")));
    // A swap must let go first: the constraint looks at each step.
    let swap = vec![replace(ada, None, user_content("eve")), replace(eve, None, user_content("ada"))];
    assert_eq!(bench.commit(swap), Err(StoreError::Taken(key("username", "eve"))));
    bench
        .commit(vec![
            replace(ada, None, Content::default()),
            replace(eve, None, user_content("ada")),
            replace(ada, None, user_content("eve")),
        ])
        .unwrap();
    assert_eq!(bench.wait(bench.store.holder(key("username", "ada"))).unwrap().unwrap().number, eve);
    bench.commit(vec![Step::Remove { number: eve, expected: None }, user("new")]).unwrap();
    assert_eq!(bench.wait(bench.store.holder(key("username", "ada"))).unwrap(), None);
}

fn of_many_who_claim_one_key_one_wins(bench: &Bench) {
    let start = Barrier::new(64);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|client| {
                let start = &start;
                scope.spawn(move || {
                    let step = create(Kind::User, &format!("user-{client}"), user_content("ada"));
                    start.wait();
                    bench.commit(vec![step])
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let taken = Err(StoreError::Taken(key("username", "ada")));
    assert_eq!(answers.iter().filter(|answer| **answer == taken).count(), 63);
    assert_eq!(bench.wait(bench.store.head()).unwrap().revision.number, 1);
}

fn each_write_takes_a_version(bench: &Bench) {
    let created = bench.commit(vec![user("ada")]).unwrap().outcomes[0].clone();
    assert_eq!((created.version, created.created, created.modified), (1, Timestamp(1_000), Timestamp(1_000)));
    let written = bench.commit(vec![replace(1, Some(1), user_content("ada"))]).unwrap().outcomes[0].clone();
    assert_eq!((written.version, written.created, written.modified), (2, Timestamp(1_000), Timestamp(2_000)));
    let record = bench.wait(bench.store.get(Kind::User, "ada")).unwrap().unwrap();
    assert_eq!((record.version, record.created, record.modified), (2, Timestamp(1_000), Timestamp(2_000)));
}

fn another_version_than_expected_changes_nothing(bench: &Bench) {
    let (ada, staff) = (bench.step(user("ada")), bench.step(group("staff")));
    let head = bench.wait(bench.store.head()).unwrap();
    for step in [
        replace(ada, Some(2), user_content("eve")),
        Step::Members { group: staff, expected: Some(7), add: vec![ada], remove: vec![] },
        Step::Members { group: staff, expected: Some(7), add: vec![], remove: vec![] },
        Step::Remove { number: ada, expected: Some(0) },
    ] {
        assert_eq!(bench.commit(vec![step]), Err(StoreError::VersionMismatch { current: 1 }));
    }
    for step in [
        replace(99, Some(1), Content::default()),
        join(99, &[ada]),
        join(staff, &[99]),
        join(staff, &[ada, 99]),
        Step::Remove { number: 99, expected: None },
    ] {
        assert_eq!(bench.commit(vec![step]), Err(StoreError::NotFound(99)));
    }
    assert_eq!(bench.wait(bench.store.head()).unwrap(), head);
    assert_eq!(bench.wait(bench.store.members(staff, None, 9)).unwrap(), []);
}

fn an_operation_happens_once(bench: &Bench) {
    let first = bench.wait(bench.store.commit(transaction("same", 5, vec![user("ada"), group("staff")]))).unwrap();
    bench.step(user("eve"));
    // Whatever a repetition says, it is the first that happened.
    let again = bench.wait(bench.store.commit(transaction("same", 9, vec![user("bob")]))).unwrap();
    assert_eq!(again, first);
    assert_eq!(again.revision, Revision { epoch: 1, number: 1 });
    assert_eq!(bench.wait(bench.store.get(Kind::User, "bob")).unwrap(), None);
    assert_eq!(bench.applied.lock().unwrap().len(), 2);

    let start = Barrier::new(8);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let claim = || {
            start.wait();
            bench.wait(bench.store.commit(transaction("raced", 7, vec![user("raced")])))
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(bench.wait(bench.store.head()).unwrap().revision.number, 3);
}

fn an_operation_that_failed_may_happen_later(bench: &Bench) {
    let ada = bench.step(user("ada"));
    let attempt = || transaction("late", 5, vec![create(Kind::User, "late", user_content("ada"))]);
    assert!(bench.wait(bench.store.commit(attempt())).is_err());
    bench.step(Step::Remove { number: ada, expected: None });
    assert_eq!(bench.wait(bench.store.commit(attempt())).unwrap().revision.number, 3);
}

fn many_clients_get_revisions_without_gaps(bench: &Bench) {
    let revisions: Vec<u64> = std::thread::scope(|scope| {
        let work = |client: u32| {
            let each = (0..15).map(move |turn| {
                let name = format!("user-{client}-{turn}");
                let committed = bench.commit(vec![user(&name)]).unwrap();
                // Promise 3: whoever has the answer finds it applied.
                let applied = bench.applied.lock().unwrap();
                let told = applied.iter().find(|(revision, _)| *revision == committed.revision);
                let change = Change { number: committed.outcomes[0].number, image: user_image(&name) };
                assert_eq!(told, Some(&(committed.revision, vec![change])));
                committed.revision.number
            });
            each.collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..32).map(|client| scope.spawn(move || work(client))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let expected: Vec<u64> = (1..=480).collect();
    assert_eq!(revisions.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(), expected);
    let applied: Vec<u64> = bench.applied.lock().unwrap().iter().map(|(revision, _)| revision.number).collect();
    assert_eq!(applied, expected, "the hook hears revisions in order, each once");
    bench.store.verify().unwrap();
}

fn content_replaces_what_was_there(bench: &Bench) {
    let mut content = user_content("ada");
    content.index = vec![entry("emails.value", 0, "a"), entry("emails.value", 1, "b"), entry("emails.value", 1, "b")];
    let ada = bench.step(create(Kind::User, "ada", content.clone()));
    let found = |path: &str, value: &str| super::queries::equal(bench, path, value);
    assert_eq!((found("emails.value", "a"), found("emails.value", "b")), (vec![ada], vec![ada]));
    content.index = vec![entry("emails.value", 1, "b"), entry("phones.value", 0, "c")];
    content.unique = vec![key("email", "b")];
    content.state = "{\"private\":1}".to_owned();
    bench.commit(vec![replace(ada, None, content)]).unwrap();
    assert_eq!((found("emails.value", "a"), found("emails.value", "b")), (vec![], vec![ada]));
    assert_eq!(found("phones.value", "c"), [ada]);
    assert_eq!(bench.wait(bench.store.holder(key("username", "ada"))).unwrap(), None);
    let record = bench.wait(bench.store.holder(key("email", "b"))).unwrap().unwrap();
    assert_eq!((record.number, record.state.as_str()), (ada, "{\"private\":1}"));
}

fn an_image_that_ends_is_gone_in_the_log(bench: &Bench) {
    let ada = bench.step(user("ada"));
    bench.commit(vec![replace(ada, None, Content { image: None, ..user_content("ada") })]).unwrap();
    bench.commit(vec![replace(ada, None, Content { image: None, ..user_content("ada") })]).unwrap();
    let applied: Vec<_> = bench.applied.lock().unwrap().iter().map(|(_, changes)| changes.clone()).collect();
    assert_eq!(applied[1], [Change { number: ada, image: Image::Gone }]);
    assert_eq!(applied[2], [], "a revision may change nothing that decisions read");
    assert!(bench.state().images.is_empty());
}

fn what_the_contract_excludes_is_refused(bench: &Bench) {
    let unnamed = bench.wait(bench.store.commit(transaction("", 1, vec![user("ada")])));
    assert!(matches!(unnamed, Err(StoreError::Invalid(_))));
    for image in [Image::Gone, Image::Members(MemberChange::default())] {
        let content = Content { image: Some(image), ..Content::default() };
        assert!(matches!(bench.commit(vec![create(Kind::User, "x", content)]), Err(StoreError::Invalid(_))));
    }
    let crowd: Vec<u32> = (0..100_001).collect();
    assert!(matches!(bench.commit(vec![join(1, &crowd)]), Err(StoreError::TooComplex(_))));
    assert_eq!(bench.wait(bench.store.head()).unwrap().revision.number, 0);
}

fn a_stamp_changes_with_each_write_of_its_kind(bench: &Bench) {
    let stamps = || [Kind::User, Kind::Group].map(|kind| bench.store.stamp(kind));
    let written = |step: Step| {
        let before = stamps();
        bench.step(step);
        let after = stamps();
        [before[0] != after[0], before[1] != after[1]]
    };
    assert!(written(user("ada"))[0]);
    assert!(written(group("staff"))[1]);
    assert!(written(replace(1, None, user_content("bob")))[0]);
    assert!(written(join(2, &[1]))[1]);
    assert_eq!(written(Step::Remove { number: 1, expected: None }), [true, true], "the group lost a member");
    let before = stamps();
    assert!(bench.commit(vec![user("eve"), group("staff")]).is_err());
    bench.wait(bench.store.get(Kind::User, "eve")).unwrap();
    assert_eq!(stamps(), before, "neither a refusal nor a look changes it");
}

fn several_are_looked_up_at_once(bench: &Bench) {
    let organization = Step::Create {
        kind: Kind::Organization,
        id: "one".to_owned(),
        organization: String::new(),
        content: Content::default(),
    };
    bench.commit(vec![organization, user("ada")]).unwrap();
    let wanted = vec![
        Lookup::OrganizationOfHolder(key("username", "ada")),
        Lookup::Id(Kind::User, "nobody".to_owned()),
        Lookup::Holder(key("username", "ada")),
        Lookup::Id(Kind::User, "ada".to_owned()),
        Lookup::OrganizationOfHolder(key("username", "nobody")),
    ];
    let found = bench.wait(bench.store.find(wanted)).unwrap();
    let numbers: Vec<_> = found.iter().map(|record| record.as_ref().map(|record| record.number)).collect();
    assert_eq!(numbers, [Some(1), None, Some(2), Some(2), None]);
    assert_eq!(bench.wait(bench.store.find(Vec::new())).unwrap(), []);
}
