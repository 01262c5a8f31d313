//! Bodies that are read whole: within size, time and memory, and so that those which never come cannot keep complete
//! requests from being answered. Knows neither routes nor handlers.
//!
//! What comes along with its headers costs nothing here. Whatever has to be waited for is counted, for all
//! connections and for each one; where the whole is taken, every connection still has a little of its own.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};

use super::service::Connection;
use crate::http::Refusal;
use crate::http::body::{body_too_large, body_too_slow, next_data};

/// A body of at most so many bytes that comes in one piece is not counted: requests being worked on bound it.
const SMALL_BODY: u64 = 8 * 1024;
/// What each connection may have on its way although all others together have taken everything.
const OWN_BODIES: u64 = 8;
const OWN_BYTES: u64 = 8 * 1024;

/// Bodies on their way: how many are waited for, and the bytes that are held of them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    waiting: AtomicU64,
    bytes: AtomicU64,
}

/// Reads a body whole. What is held of it counts for as long as the answer's second part lives.
///
/// # Errors
/// 413 beyond the size, 408 beyond the time, 400 where the client broke off, 503 where too much is on its way.
pub(super) async fn whole(connection: &Arc<Connection>, body: &mut Incoming) -> Result<(Bytes, Option<Held>), Refusal> {
    if body.is_end_stream() {
        return Ok((Bytes::new(), None));
    }
    let limits = &connection.listener.limits;
    if body.size_hint().lower() > limits.body_bytes {
        return Err(body_too_large(limits.body_bytes));
    }
    let mut gathering = pin!(gather(connection, body));
    if let Some(done) = at_once(gathering.as_mut()).await {
        return done;
    }
    let _place = Place::take(connection)?;
    let gathered = Box::pin(tokio::time::timeout(limits.body_deadline, gathering)).await;
    let whole = gathered.unwrap_or_else(|_| Err(body_too_slow(limits.body_deadline)))?;
    connection.vitals.kept_its_word();
    Ok(whole)
}

async fn gather(connection: &Arc<Connection>, body: &mut Incoming) -> Result<(Bytes, Option<Held>), Refusal> {
    let most = connection.listener.limits.body_bytes;
    let mut whole = BytesMut::new();
    let mut held = None;
    while let Some(bytes) = next_data(body).await? {
        if !bytes.is_empty() {
            connection.vitals.progress();
        }
        if body.is_end_stream() && whole.is_empty() && bytes.len() as u64 <= SMALL_BODY.min(most) {
            // The usual case: one piece, taken without a copy.
            return Ok((bytes, None));
        }
        let length = (whole.len() + bytes.len()) as u64;
        if length > most {
            return Err(body_too_large(most));
        }
        held.get_or_insert_with(|| Held { connection: Arc::clone(connection), bytes: 0 }).grow(length)?;
        whole.extend_from_slice(&bytes);
    }
    Ok((whole.freeze(), held))
}

/// What is done at its second turn: a body that came along with its headers is there by then, and needs neither a place
/// nor a timer.
pub(super) async fn at_once<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut first_turn = true;
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if first_turn => {
            first_turn = false;
            context.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// A body that is waited for.
struct Place<'a>(&'a Connection);

impl<'a> Place<'a> {
    fn take(connection: &'a Connection) -> Result<Self, Refusal> {
        let all = connection.listener.bodies.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        let own = connection.bodies.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        // Dropping the place gives it back.
        let place = Self(connection);
        let crowded = all > connection.listener.limits.waiting_bodies as u64 && own > OWN_BODIES;
        if crowded {
            connection.vitals.begged();
            return Err(too_much());
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.listener.bodies.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.bodies.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The memory that a body takes.
pub(super) struct Held {
    connection: Arc<Connection>,
    bytes: u64,
}

impl Held {
    /// Takes memory for a body of this length; refuses where too much is taken, by this connection or by all.
    fn grow(&mut self, length: u64) -> Result<(), Refusal> {
        let more = length.saturating_sub(self.bytes);
        self.bytes += more;
        let limits = &self.connection.listener.limits;
        let all = self.connection.listener.bodies.bytes.fetch_add(more, Ordering::Relaxed) + more;
        let own = self.connection.bodies.bytes.fetch_add(more, Ordering::Relaxed) + more;
        let share = (limits.body_memory / 4).max(limits.body_bytes);
        let crowded = own > share || all > limits.body_memory && own > OWN_BYTES;
        if crowded { Err(too_much()) } else { Ok(()) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.listener.bodies.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.connection.bodies.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn too_much() -> Refusal {
    Refusal::unavailable("overloaded", "too much is being received at once; try again soon")
}
