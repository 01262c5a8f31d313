//! Promise 2: the change log, its chain, and that its fold is the state.

use cedargate::domain::{Revision, Timestamp};
use cedargate::store::{Content, Kind, Step, chain};

use super::{Bench, State, create, group, group_image, join, leave, on_every_store, projected, user, user_content};

on_every_store! {
    an_empty_ledger_stands_at_zero
    the_log_is_chained
    the_tail_comes_in_pieces
    the_state_is_the_fold_of_the_log
}

fn an_empty_ledger_stands_at_zero(bench: &Bench) {
    let head = bench.wait(bench.store.head()).unwrap();
    assert_eq!((head.revision, head.hash), (Revision { epoch: 1, number: 0 }, [0; 32]));
    assert_eq!(bench.wait(bench.store.tail(0, 9)).unwrap(), []);
    assert_eq!(projected(&*bench.store), (head.revision, State::default()));
    assert_eq!(bench.store.verify().unwrap(), head);
}

/// A few revisions of every sort.
fn live(bench: &Bench) {
    let (ada, eve) = (bench.step(user("ada")), bench.step(user("eve")));
    let (staff, all) = (bench.step(group("staff")), bench.step(group("all")));
    bench.step(create(Kind::Connection, "okta", Content::default()));
    bench.commit(vec![join(staff, &[ada, eve]), join(all, &[staff])]).unwrap();
    bench.step(Step::Replace { number: ada, expected: None, content: user_content("bob") });
    bench.step(leave(staff, &[ada]));
    bench.step(leave(staff, &[ada]));
    let renamed = Content { image: Some(group_image("everybody")), ..Content::default() };
    bench.step(Step::Replace { number: all, expected: None, content: renamed });
    bench.commit(vec![]).unwrap();
    bench.step(Step::Remove { number: eve, expected: None });
}

fn the_log_is_chained(bench: &Bench) {
    live(bench);
    let head = bench.wait(bench.store.head()).unwrap();
    let tail = bench.wait(bench.store.tail(0, 100)).unwrap();
    let mut hash = [0; 32];
    for (entry, number) in tail.iter().zip(1..) {
        assert_eq!(entry.revision, Revision { epoch: 1, number });
        assert_eq!(entry.at, Timestamp(i64::try_from(number).unwrap() * 1_000));
        hash = chain(&hash, entry.revision, entry.at, &serde_json::to_string(&entry.changes).unwrap());
        assert_eq!(entry.hash, hash);
    }
    assert_eq!(tail.len(), 12);
    assert_eq!((head.revision.number, head.hash), (12, hash));
    assert_eq!(bench.store.verify().unwrap(), head);
    // The hook and the log tell the same story.
    let told: Vec<_> = tail.into_iter().map(|entry| (entry.revision, entry.changes)).collect();
    assert_eq!(*bench.applied.lock().unwrap(), told);
}

fn the_tail_comes_in_pieces(bench: &Bench) {
    live(bench);
    let whole = bench.wait(bench.store.tail(0, u64::MAX)).unwrap();
    let mut pieces = Vec::new();
    loop {
        let piece = bench.wait(bench.store.tail(pieces.len() as u64, 5)).unwrap();
        if piece.is_empty() {
            break;
        }
        assert!(piece.len() <= 5);
        pieces.extend(piece);
    }
    assert_eq!(pieces, whole);
    assert_eq!(bench.wait(bench.store.tail(u64::MAX, 5)).unwrap(), []);
    assert_eq!(bench.wait(bench.store.tail(0, 0)).unwrap(), []);
}

fn the_state_is_the_fold_of_the_log(bench: &Bench) {
    live(bench);
    let mut folded = State::default();
    for entry in bench.wait(bench.store.tail(0, 100)).unwrap() {
        folded.fold(&entry.changes);
    }
    let (revision, state) = projected(&*bench.store);
    assert_eq!(revision.number, 12);
    assert_eq!(state, folded);
    assert_eq!((state.images.len(), state.members.len()), (3, 1));
}
