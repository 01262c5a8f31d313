//! A future that is polled only after it was woken. Knows nothing of connections.
//!
//! A connection's task runs for every request, and beside its work it waits for things that hardly ever happen: a tick,
//! the drain. To poll them each time would cost more than a part of the work itself; here it is one atomic load.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The future with its bell.
pub(super) struct Seldom<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    /// Rings the bell.
    ringer: Waker,
    /// The task around, as the bell knows it.
    task: Option<Waker>,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<F: Future> Seldom<F> {
    /// Over a future, which is polled at the first turn.
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: Mutex::new(None) });
        Self { future: Box::pin(future), ringer: Arc::clone(&bell).into(), bell, task: None }
    }

    /// Waits for another one from now on.
    pub(super) fn set(&mut self, future: F) {
        self.future.as_mut().set(future);
        self.bell.rung.store(true, Ordering::Release);
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let seldom = &mut *self;
        if !seldom.task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            let task = context.waker().clone();
            *seldom.bell.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
            seldom.task = Some(task);
            // It may have been woken for the task before.
            seldom.bell.rung.store(true, Ordering::Release);
        }
        // The bell is put back before the future is looked at: what happens meanwhile rings it again.
        if !seldom.bell.rung.load(Ordering::Relaxed) || !seldom.bell.rung.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        seldom.future.as_mut().poll(&mut Context::from_waker(&seldom.ringer))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    /// Counts how often what is inside is polled.
    struct Counted<F>(Pin<Box<F>>, Arc<AtomicUsize>);

    impl<F: Future> Future for Counted<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.as_mut().poll(context)
        }
    }

    #[tokio::test]
    async fn it_is_polled_when_woken_and_wakes_whoever_waits() {
        let (send, receive) = oneshot::channel::<u8>();
        let polls = Arc::new(AtomicUsize::new(0));
        let mut seldom = Seldom::new(Counted(Box::pin(receive), Arc::clone(&polls)));
        let seldom = tokio::spawn(async move {
            for _ in 0..100 {
                let once =
                    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut seldom).poll(context).is_pending()));
                assert!(once.await);
            }
            Some(seldom)
        });
        let seldom = seldom.await.unwrap().unwrap();
        assert_eq!(polls.load(Ordering::SeqCst), 1);
        let waiting = tokio::spawn(seldom);
        tokio::task::yield_now().await;
        send.send(7).unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), 7, "on another task than the first");
        assert!(polls.load(Ordering::SeqCst) <= 3);
    }

    #[tokio::test]
    async fn another_future_in_its_place_is_waited_for() {
        let (first, receive) = oneshot::channel::<u8>();
        let mut seldom = Seldom::new(receive);
        assert!(std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut seldom).poll(context).is_pending())).await);
        let (second, receive) = oneshot::channel::<u8>();
        seldom.set(receive);
        second.send(2).unwrap();
        assert_eq!(seldom.await.unwrap(), 2);
        assert!(first.is_closed());
    }
}
