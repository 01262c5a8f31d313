//! The requests of a multiplexed connection, answered together. Knows nothing of requests.
//!
//! The library would give each request a task of its own, and a task that is done wakes the connection to send one answer:
//! one write for each, where requests came by the dozen in one read. Here whatever came together has its first turns
//! on the connection's own task, one after the other, and then the connection sends all answers that are there. What is
//! not done by then goes on by itself; what was answered or refused never becomes a task, so that a client that sends a
//! hundred requests with one packet holds little memory.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;

/// Requests that wait for their first turns; whatever comes beyond has them at once.
const IN_ONE_GO: usize = 32;
/// A request whose body was not there at its first turn is refused, where too many wait, at its second
/// (see [`super::receive::at_once`]).
const TURNS: usize = 2;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Requests of one connection that have not had their first turn. As many as may be open at once, at most.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Begun>);

#[derive(Default)]
struct Begun {
    /// Whether there are any: all that a connection of HTTP/1.1 ever looks at.
    any: AtomicBool,
    streams: Mutex<VecDeque<Stream>>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let stream: Stream = Box::pin(stream);
        let mut queue = self.queue();
        if queue.len() < IN_ONE_GO {
            queue.push_back(stream);
            self.0.any.store(true, Ordering::Relaxed);
        } else {
            drop(queue);
            begin(stream);
        }
    }
}

impl Streams {
    /// One turn of the connection, with the first turns of what it begins.
    pub(super) fn poll<C: Future>(&self, mut connection: Pin<&mut C>, context: &mut Context<'_>) -> Poll<C::Output> {
        let polled = connection.as_mut().poll(context);
        // It runs on this very thread, so what it began is seen.
        if polled.is_ready() || !self.0.any.load(Ordering::Relaxed) {
            return polled;
        }
        while let Some(stream) = self.next() {
            begin(stream);
        }
        let polled = connection.poll(context);
        if self.0.any.load(Ordering::Relaxed) {
            context.waker().wake_by_ref();
        }
        polled
    }

    fn next(&self) -> Option<Stream> {
        let mut streams = self.queue();
        let next = streams.pop_front();
        self.0.any.store(!streams.is_empty(), Ordering::Relaxed);
        next
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Stream>> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a request its first turns, and a task if it is not done then.
fn begin(mut stream: Stream) {
    // Whatever would wake it is not missed: a new task always has a turn.
    let mut context = Context::from_waker(Waker::noop());
    let mut is_over = || (0..TURNS).any(|_| stream.as_mut().poll(&mut context).is_ready());
    // A panic ends this request and not its neighbours, as it would on a task of its own.
    if let Ok(false) = catch_unwind(AssertUnwindSafe(&mut is_over)) {
        tokio::spawn(stream);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A connection that begins so many requests at its first turn, and ends when all are answered.
    async fn converse(requests: usize, turns_of_each: usize) -> (usize, usize) {
        let streams = Streams::default();
        let answered = Arc::new(AtomicUsize::new(0));
        let (mut begun, mut turns) = (false, 0);
        let connection = poll_fn(|context| {
            turns += 1;
            if !std::mem::replace(&mut begun, true) {
                for _ in 0..requests {
                    let (answered, waker) = (Arc::clone(&answered), context.waker().clone());
                    streams.execute(async move {
                        for _ in 1..turns_of_each {
                            tokio::task::yield_now().await;
                        }
                        answered.fetch_add(1, Ordering::Relaxed);
                        waker.wake();
                    });
                }
            }
            let answered = answered.load(Ordering::Relaxed);
            if answered == requests { Poll::Ready(answered) } else { Poll::Pending }
        });
        let mut connection = std::pin::pin!(connection);
        let answered = poll_fn(|context| streams.poll(connection.as_mut(), context)).await;
        (answered, turns)
    }

    #[tokio::test]
    async fn what_came_together_is_answered_before_the_connection_has_its_next_turn() {
        assert_eq!(converse(IN_ONE_GO, 1).await, (IN_ONE_GO, 2));
        let (answered, turns) = converse(3 * IN_ONE_GO, 1).await;
        assert_eq!((answered, turns), (3 * IN_ONE_GO, 2), "and so is what came beyond");
    }

    #[tokio::test]
    async fn what_takes_longer_goes_on_by_itself() {
        assert_eq!(converse(3 * IN_ONE_GO, 4).await.0, 3 * IN_ONE_GO);
    }
}
