//! What the people of one identity provider were, change by change, and how far the server has said so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use crate::model::{Ask, Expected, World, expect};

/// The versions of one part of the world. Version 0 is how it began.
pub struct History {
    versions: RwLock<Vec<Arc<World>>>,
    sent: AtomicUsize,
    acknowledged: AtomicUsize,
}

impl History {
    /// Begins with a world that the server has confirmed.
    pub fn new(world: World) -> Self {
        let versions = RwLock::new(vec![Arc::new(world)]);
        Self { versions, sent: AtomicUsize::new(0), acknowledged: AtomicUsize::new(0) }
    }

    /// Marks the next version as on its way. One writer only.
    pub fn send(&self, world: World) {
        let mut versions = self.versions.write().unwrap();
        versions.push(Arc::new(world));
        self.sent.store(versions.len() - 1, Ordering::SeqCst);
    }

    /// Marks everything that is on its way as confirmed.
    pub fn acknowledge(&self) {
        self.acknowledged.store(self.sent.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// The last version confirmed: the oldest that an answer to a question sent now may show.
    pub fn oldest(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// The last version sent: the newest that an answer received now may show.
    pub fn newest(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// A version.
    pub fn at(&self, version: usize) -> Arc<World> {
        Arc::clone(&self.versions.read().unwrap()[version])
    }

    /// The version that an answer agrees with, or what would have been right instead.
    pub fn judge(
        &self,
        ask: &Ask,
        between: std::ops::RangeInclusive<usize>,
        permit: bool,
        reason: &str,
    ) -> Result<usize, Vec<Expected>> {
        let mut wanted = Vec::new();
        for version in between {
            let expected = expect(&self.at(version), ask);
            if expected.agrees(permit, reason) {
                return Ok(version);
            }
            if !wanted.contains(&expected) {
                wanted.push(expected);
            }
        }
        Err(wanted)
    }
}

#[test]
fn an_answer_must_agree_with_a_version_of_its_time() {
    let person = |active| Arc::new(crate::model::Person { active, ..crate::model::Person::default() });
    let world = |active| World { people: [("p".to_owned(), person(active))].into(), ..World::default() };
    let history = History::new(world(true));
    let ask = Ask::sign_in("p");
    history.send(world(false));
    assert_eq!((history.oldest(), history.newest()), (0, 1));
    assert_eq!(history.judge(&ask, 0..=1, true, "sign-in"), Ok(0));
    assert_eq!(history.judge(&ask, 0..=1, false, "deactivated"), Ok(1));
    history.acknowledge();
    assert_eq!((history.oldest(), history.newest()), (1, 1));
    assert!(history.judge(&ask, 1..=1, true, "sign-in").is_err());
    assert!(history.judge(&ask, 1..=1, false, "locked").is_err());
}
