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
