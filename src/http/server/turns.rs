//! The first turn of a handler: most of them are done at it, and need no task of their own.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use crate::http::{Answer, Refusal, Response};

/// Gives a handler its first turn where it stands. Nobody can stop it during that: what it does in one turn it does whole.
/// `None` where it waits for something; an error where it panicked.
pub(super) async fn first_turn(work: &mut Answer) -> Option<thread::Result<Response>> {
    poll_fn(|context| {
        Poll::Ready(match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Ready(response)) => Some(Ok(response)),
            Ok(Poll::Pending) => None,
            Err(panic) => Some(Err(panic)),
        })
    })
    .await
}

/// For a client that waited in vain for a handler that goes on.
pub(super) fn too_late(deadline: Duration) -> Refusal {
    let advice = "the request may still take effect, look before you try again";
    Refusal::unavailable("timeout", format!("no answer within {deadline:?}; {advice}"))
}
