//! Memberships: sets with a version, readable from both ends, gone with either.

use cedargate::domain::{Change, Image, MemberChange, Timestamp};
use cedargate::store::{CREATED, Content, Kind, Step, StoreError};

use super::{Bench, create, group, join, key, leave, on_every_store, organization, user};

on_every_store! {
    joining_and_leaving_are_idempotent
    leaving_comes_before_joining
    only_groups_have_members
    members_are_read_from_both_ends
    a_new_group_takes_members_in_the_transaction_that_creates_it
    a_removed_resource_leaves_no_trace
    a_removed_group_loses_its_members
    numbers_are_never_given_again
    what_never_had_an_image_goes_silently
    an_image_that_ends_takes_its_memberships_along
    the_deleted_leave_their_groups_and_join_none
    groups_above_come_whole_or_not_at_all
}

/// The last change that the apply hook heard of.
fn last(bench: &Bench) -> Vec<Change> {
    bench.applied.lock().unwrap().last().unwrap().1.clone()
}

fn delta(group: u32, added: &[u32], removed: &[u32]) -> Change {
    Change { number: group, image: Image::Members(MemberChange { added: added.to_vec(), removed: removed.to_vec() }) }
}

fn joining_and_leaving_are_idempotent(bench: &Bench) {
    let (ada, eve, staff) = (bench.step(user("ada")), bench.step(user("eve")), bench.step(group("staff")));
    let joined = bench.commit(vec![join(staff, &[eve, ada, eve])]).unwrap().outcomes[0].clone();
    assert_eq!((joined.version, joined.changed, joined.modified), (2, true, Timestamp(4_000)));
    assert_eq!(last(bench), [delta(staff, &[ada, eve], &[])]);

    for idle in [join(staff, &[ada]), join(staff, &[]), leave(staff, &[99]), leave(staff, &[staff])] {
        let outcome = bench.commit(vec![idle]).unwrap().outcomes[0].clone();
        assert_eq!((outcome.version, outcome.changed, outcome.modified), (2, false, Timestamp(4_000)));
        assert_eq!(last(bench), []);
    }
    let left = bench.commit(vec![leave(staff, &[ada, ada])]).unwrap().outcomes[0].clone();
    assert_eq!((left.version, left.changed), (3, true));
    assert_eq!(last(bench), [delta(staff, &[], &[ada])]);
    assert_eq!(bench.state().members.into_iter().collect::<Vec<_>>(), [(staff, eve)]);
    assert_eq!(bench.version(ada), 1, "a member does not change with its groups");
}

fn leaving_comes_before_joining(bench: &Bench) {
    let (ada, eve, staff) = (bench.step(user("ada")), bench.step(user("eve")), bench.step(group("staff")));
    bench.step(join(staff, &[ada]));
    let both = Step::Members { group: staff, expected: Some(2), add: vec![ada, eve], remove: vec![ada, eve] };
    let outcome = bench.commit(vec![both]).unwrap().outcomes[0].clone();
    assert_eq!((outcome.version, outcome.changed), (3, true));
    assert_eq!(last(bench), [delta(staff, &[eve], &[])]);
    let stays = Step::Members { group: staff, expected: Some(3), add: vec![ada], remove: vec![ada] };
    assert!(!bench.commit(vec![stays]).unwrap().outcomes[0].changed);
}

fn a_new_group_takes_members_in_the_transaction_that_creates_it(bench: &Bench) {
    let (ada, eve, staff) = (bench.step(user("ada")), bench.step(user("eve")), bench.step(group("staff")));
    let steps = vec![group("first"), join(CREATED, &[ada]), group("second"), join(CREATED, &[ada, eve])];
    let committed = bench.commit(steps).unwrap();
    let [first, joined, second, _] = committed.outcomes.as_slice() else { panic!() };
    assert_eq!((first.number, joined.version), (joined.number, 2));
    let expected = [(first.number, ada), (second.number, ada), (second.number, eve)];
    assert_eq!(bench.state().members.into_iter().collect::<Vec<_>>(), expected);
    assert!(matches!(bench.commit(vec![join(CREATED, &[ada])]), Err(StoreError::Invalid(_))));
    assert!(matches!(bench.commit(vec![join(CREATED, &[ada]), group("late")]), Err(StoreError::Invalid(_))));
    assert_eq!(bench.commit(vec![user("max"), join(CREATED, &[ada])]), Err(StoreError::NotFound(second.number + 1)));
    assert_eq!(bench.version(staff), 1);
}

fn only_groups_have_members(bench: &Bench) {
    let (ada, wall) = (bench.step(user("ada")), bench.step(organization("one")));
    assert_eq!(bench.commit(vec![join(ada, &[wall])]), Err(StoreError::NotFound(ada)));
    assert_eq!(bench.commit(vec![join(wall, &[ada])]), Err(StoreError::NotFound(wall)));
}

fn members_are_read_from_both_ends(bench: &Bench) {
    let people: Vec<u32> = (0..5).map(|person| bench.step(user(&format!("user-{person}")))).collect();
    let (staff, all) = (bench.step(group("staff")), bench.step(group("all")));
    bench.commit(vec![join(staff, &people), join(all, &[staff, people[0]])]).unwrap();

    let page = bench.wait(bench.store.members(staff, Some(people[1]), 2)).unwrap();
    assert_eq!(page, [(people[2], Kind::User, "user-2".into()), (people[3], Kind::User, "user-3".into())]);
    let direct = bench.wait(bench.store.members(all, None, 9)).unwrap();
    assert_eq!(direct, [(people[0], Kind::User, "user-0".into()), (staff, Kind::Group, "staff".into())]);
    assert_eq!(bench.wait(bench.store.members(staff, None, 0)).unwrap(), []);

    let groups = |member| -> Vec<u32> {
        bench.wait(bench.store.groups_of(member)).unwrap().iter().map(|record| record.number).collect()
    };
    assert_eq!((groups(people[0]), groups(people[1]), groups(staff)), (vec![staff, all], vec![staff], vec![all]));
    let among = bench.wait(bench.store.members_among(all, vec![staff, people[1], people[0], 99])).unwrap();
    assert_eq!(among, [staff, people[0]]);
}

fn a_removed_resource_leaves_no_trace(bench: &Bench) {
    let (ada, staff) = (bench.step(user("ada")), bench.step(group("staff")));
    bench.step(join(staff, &[ada]));
    let removed = bench.commit(vec![Step::Remove { number: ada, expected: Some(1) }]).unwrap().outcomes[0].clone();
    assert_eq!((removed.number, removed.version, removed.changed), (ada, 1, true));
    assert_eq!((removed.created, removed.modified), (Timestamp(1_000), Timestamp(4_000)));
    assert_eq!(last(bench), [Change { number: ada, image: Image::Gone }]);

    assert_eq!(bench.wait(bench.store.get(Kind::User, "ada")).unwrap(), None);
    assert_eq!(bench.wait(bench.store.records(vec![ada, staff, ada])).unwrap().len(), 1);
    assert_eq!(bench.wait(bench.store.holder(key("username", "ada"))).unwrap(), None);
    assert_eq!(super::queries::equal(bench, "username", "ada"), [] as [u32; 0]);
    assert_eq!(bench.wait(bench.store.members(staff, None, 9)).unwrap(), []);
    let group = bench.wait(bench.store.get(Kind::Group, "staff")).unwrap().unwrap();
    assert_eq!((group.version, group.modified), (3, Timestamp(4_000)), "its group changed");
    bench.store.verify().unwrap();
}

fn a_removed_group_loses_its_members(bench: &Bench) {
    let (ada, staff, all) = (bench.step(user("ada")), bench.step(group("staff")), bench.step(group("all")));
    bench.commit(vec![join(staff, &[ada, staff]), join(all, &[staff])]).unwrap();
    bench.commit(vec![Step::Remove { number: staff, expected: None }]).unwrap();
    assert_eq!(last(bench), [Change { number: staff, image: Image::Gone }]);
    assert_eq!(bench.wait(bench.store.groups_of(ada)).unwrap(), []);
    assert_eq!((bench.version(ada), bench.version(all)), (1, 3));
    let state = bench.state();
    assert_eq!((state.images.len(), state.members.len()), (2, 0));
    bench.store.verify().unwrap();
}

fn numbers_are_never_given_again(bench: &Bench) {
    let first = bench.step(user("ada"));
    bench.step(Step::Remove { number: first, expected: None });
    let second = bench.step(user("ada"));
    assert_eq!((second, bench.version(second)), (first + 1, 1));
}

fn what_never_had_an_image_goes_silently(bench: &Bench) {
    let connection = bench.step(create(Kind::Connection, "okta", Content::default()));
    bench.step(Step::Remove { number: connection, expected: None });
    assert_eq!(last(bench), []);
    // With a membership it does not: whoever folds the log must hear of it.
    let (bare, staff) = (bench.step(create(Kind::User, "bare", Content::default())), bench.step(group("staff")));
    bench.step(join(staff, &[bare]));
    bench.step(Step::Remove { number: bare, expected: None });
    assert_eq!(last(bench), [Change { number: bare, image: Image::Gone }]);
}

fn an_image_that_ends_takes_its_memberships_along(bench: &Bench) {
    let (ada, staff, all) = (bench.step(user("ada")), bench.step(group("staff")), bench.step(group("all")));
    bench.commit(vec![join(staff, &[ada]), join(all, &[staff])]).unwrap();
    let content = Content { deleted: true, ..Content::default() };
    let outcome =
        bench.commit(vec![Step::Replace { number: staff, expected: Some(2), content }]).unwrap().outcomes[0].clone();
    assert_eq!((outcome.version, bench.version(all), bench.version(ada)), (3, 3, 1));
    assert_eq!(last(bench), [Change { number: staff, image: Image::Gone }]);
    assert_eq!(bench.wait(bench.store.members(staff, None, 9)).unwrap(), []);
    assert_eq!(bench.wait(bench.store.groups_of(staff)).unwrap(), []);
    bench.store.verify().unwrap();
}

fn the_deleted_leave_their_groups_and_join_none(bench: &Bench) {
    let (ada, eve) = (bench.step(user("ada")), bench.step(user("eve")));
    let (staff, all) = (bench.step(group("staff")), bench.step(group("all")));
    bench.commit(vec![join(staff, &[ada, eve]), join(all, &[ada, staff])]).unwrap();
    let deleted = |number, image: Image| Step::Replace {
        number,
        expected: None,
        content: Content { deleted: true, image: Some(image), ..Content::default() },
    };
    let image = super::user_image("ada");
    bench.commit(vec![deleted(ada, image.clone())]).unwrap();
    let gone = [Change { number: ada, image }, delta(staff, &[], &[ada]), delta(all, &[], &[ada])];
    assert_eq!(last(bench), gone);
    assert_eq!((bench.version(staff), bench.version(all)), (3, 3));
    assert_eq!(bench.state().members.into_iter().collect::<Vec<_>>(), [(staff, eve), (all, staff)]);

    assert_eq!(bench.commit(vec![join(staff, &[ada])]), Err(StoreError::NotFound(ada)));
    assert!(!bench.commit(vec![leave(staff, &[ada])]).unwrap().outcomes[0].changed);
    let image = super::group_image("staff");
    bench.commit(vec![deleted(staff, image.clone())]).unwrap();
    assert_eq!(last(bench), [Change { number: staff, image }, delta(staff, &[], &[eve]), delta(all, &[], &[staff])]);
    assert_eq!(bench.commit(vec![join(staff, &[eve])]), Err(StoreError::NotFound(staff)));
    assert_eq!(bench.state().members.len(), 0);
    // Whoever comes back may join again.
    let content = Content { image: Some(super::user_image("ada")), ..Content::default() };
    bench.commit(vec![Step::Replace { number: ada, expected: None, content }, join(all, &[ada])]).unwrap();
    assert_eq!(bench.state().members.into_iter().collect::<Vec<_>>(), [(all, ada)]);
    bench.store.verify().unwrap();
}

fn groups_above_come_whole_or_not_at_all(bench: &Bench) {
    let people: Vec<u32> = (0..400).map(|person| bench.step(user(&format!("user-{person}")))).collect();
    let chain: Vec<u32> = (0..250).map(|level| bench.step(group(&format!("group-{level}")))).collect();
    let mut steps = vec![join(chain[0], &people)];
    steps.extend(chain.windows(2).map(|pair| join(pair[1], &[pair[0]])));
    bench.commit(steps).unwrap();
    let above = bench.wait(bench.store.groups_above(people.clone())).unwrap();
    assert_eq!(above.len(), cedargate::store::MAX_ABOVE);
    let one_more = bench.step(group("one-more"));
    bench.step(join(one_more, &people[..1]));
    let refused = bench.wait(bench.store.groups_above(people.clone()));
    assert!(matches!(refused, Err(StoreError::TooComplex(_))), "never cut off");
    assert_eq!(bench.wait(bench.store.groups_above(people[..1].to_vec())).unwrap().len(), 251);
}
