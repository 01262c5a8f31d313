//! Where the requests of an HTTP/2 connection run: on tasks of their own, as long as a processor may be free for them.
//!
//! A client can send a hundred requests with one packet, and each task costs some kilobytes. While tasks wait for their
//! first turn already, another one would only wait behind them; the connection gives its request that turn itself. What
//! is done or refused by then never becomes a task, and how many wait does not depend on how many clients there are.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

/// For each worker so many tasks may wait for their first turn: enough that none of them looks for work in vain.
const WAITING: usize = 8;
/// A request whose body was not there at its first turn is refused, where too many wait, at its second
/// (see [`super::receive::at_once`]).
const TURNS: usize = 2;

/// Runs requests. All connections of a listener share one.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    waiting: Arc<AtomicUsize>,
    most: usize,
}

impl Turns {
    /// For a runtime with so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self { waiting: Arc::default(), most: workers.max(1) * WAITING }
    }
}

impl<F> hyper::rt::Executor<F> for Turns
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        let mut request = Box::pin(request);
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.most {
            tokio::spawn(Waiting { request, turns: Some(Turn(Arc::clone(&self.waiting))) });
            return;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        // Whatever wakes it is not missed: a new task always has a turn.
        let mut context = Context::from_waker(Waker::noop());
        let mut over = || (0..TURNS).any(|_| request.as_mut().poll(&mut context).is_ready());
        // A panic ends this request and not its neighbours, as it would on a task of its own.
        if let Ok(false) = catch_unwind(AssertUnwindSafe(&mut over)) {
            tokio::spawn(request);
        }
    }
}

/// A request on its task.
struct Waiting<F> {
    request: Pin<Box<F>>,
    turns: Option<Turn>,
}

/// One that waits for its first turn.
struct Turn(Arc<AtomicUsize>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<F: Future> Future for Waiting<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.turns = None;
        self.request.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Executor;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn who_would_only_wait_has_its_turns_at_once() {
        let turns = Turns { waiting: Arc::default(), most: 1 };
        let (done, mut order) = mpsc::unbounded_channel();
        let says = |what: &'static str| {
            let done = done.clone();
            async move { done.send(what).unwrap() }
        };
        turns.execute(says("on its task"));
        turns.execute(says("at once"));
        assert_eq!(order.try_recv().ok(), Some("at once"));
        assert!(order.try_recv().is_err(), "no task has run yet");
        assert_eq!(order.recv().await, Some("on its task"));
        turns.execute(says("another"));
        assert!(order.try_recv().is_err(), "nobody waited any more");
        assert_eq!(order.recv().await, Some("another"));
    }

    #[tokio::test]
    async fn what_is_not_done_by_then_goes_on_elsewhere_and_a_panic_is_its_own() {
        let turns = Turns { waiting: Arc::default(), most: 0 };
        let (send, mut receive) = mpsc::channel(1);
        let (done, mut answers) = mpsc::channel(1);
        turns.execute(async move {
            let told: Option<u8> = receive.recv().await;
            done.send(told).await.unwrap();
        });
        turns.execute(async { panic!("of one request") });
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
        send.send(7).await.unwrap();
        assert_eq!(answers.recv().await, Some(Some(7)));
    }
}
