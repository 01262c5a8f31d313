//! Revocation is real: once the answer to a change has left, no answer to a question contradicts it.
//!
//! Several identity providers change people of their own at random while several gateways ask about all of them.
//! The model says after each change what every answer must be. A question that was asked while a change was under
//! way may be answered by the state before or after it, and by no other.

mod harness;
mod history;
pub mod questions;
pub mod writer;

use std::sync::{Arc, Mutex, PoisonError};

use cedargate::app::Seams;
use cedargate::store::ApplyHook;

use crate::support::{InProcess, TestServer, report, test_seed};
use harness::{Plan, run};

#[test]
fn no_answer_contradicts_an_acknowledged_change() {
    let server = TestServer::start();
    let seed = test_seed("revocation");
    let outcome = run(server.doors(), &Plan { seed, writers: 8, changes: 1250, clients: 4, patience: 20 });
    report(&outcome.to_string());
    assert!(outcome.violations.is_empty(), "seed {seed}: {outcome}\n{}", outcome.violations.join("\n"));
    assert_eq!(outcome.changes, 10_000);
    assert!(outcome.checked >= 10_000, "{outcome}");
    assert!(outcome.concurrent > 1_000, "questions and changes hardly met: {outcome}");
    assert!(outcome.turned > 500, "changes hardly changed an answer: {outcome}");
    assert!(outcome.permits * 20 > outcome.questions, "hardly anything was permitted: {outcome}");
}

/// The harness can fail: the same on a server that applies each change only when the next one is committed.
#[test]
fn a_server_that_answers_before_it_applies_is_found_out() {
    let server = InProcess::start(Seams { apply: Box::new(one_behind), ..Seams::default() });
    let outcome = run(server.doors(), &Plan { seed: 1, writers: 1, changes: 200, clients: 1, patience: 20 });
    report(&outcome.to_string());
    assert!(outcome.violations.len() >= 10, "{outcome}");
}

/// Holds every change back until the next one comes.
fn one_behind(apply: ApplyHook) -> ApplyHook {
    let held = Mutex::new(None);
    Arc::new(move |revision, changes| {
        let next = Some((revision, changes.to_vec()));
        let before = std::mem::replace(&mut *held.lock().unwrap_or_else(PoisonError::into_inner), next);
        if let Some((revision, changes)) = before {
            apply(revision, &changes);
        }
    })
}
