//! A task that wakes itself during its own turn has its next one where it stands. Knows nothing of connections.
//!
//! The library hands a request's body over by a channel, whose one end wakes the other at each piece; on a connection of
//! HTTP/1.1 both ends are the same task. The runtime would put it into its queue for that, and wake a second thread to
//! look there: the dearest part of a small request, for nothing.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Turns in a row. Whoever wants more of them stands in the runtime's queue again, so that nobody else waits for long.
const TURNS: usize = 3;

/// What a task's waker has been used for since it last had a turn.
const NOTHING: u8 = 0;
/// The task has its turn.
const TURN: u8 = 1;
/// To be woken.
const CALLED: u8 = 2;

/// Gives one task its turns.
pub(super) struct Steady {
    bell: Arc<Bell>,
    waker: Waker,
}

struct Bell {
    state: AtomicU8,
    /// How to wake the task while it has no turn.
    task: Mutex<Waker>,
}

impl Default for Steady {
    fn default() -> Self {
        let bell = Arc::new(Bell { state: AtomicU8::new(NOTHING), task: Mutex::new(Waker::noop().clone()) });
        let waker = Waker::from(Arc::clone(&bell));
        Self { bell, waker }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(CALLED, Ordering::AcqRel) == NOTHING {
            self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
        }
    }
}

impl Bell {
    /// From now on this is the task.
    fn keep(&self, task: &Waker) {
        let mut kept = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.will_wake(task) {
            kept.clone_from(task);
        }
    }
}

impl Steady {
    /// A turn of the task, and another one where it was woken meanwhile.
    pub(super) fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut turn: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.bell.keep(context.waker());
        let mut own = Context::from_waker(&self.waker);
        for _ in 0..TURNS {
            self.bell.state.swap(TURN, Ordering::AcqRel);
            if let Poll::Ready(done) = turn(&mut own) {
                return Poll::Ready(done);
            }
            if self.bell.state.swap(NOTHING, Ordering::AcqRel) == TURN {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A task that wakes itself at so many turns: the turns that it has at once, how often the runtime is asked for more,
    /// and the waker that it keeps.
    fn turns(that_wake: usize) -> (usize, usize, Waker, Arc<Task>, Steady) {
        let (steady, task) = (Steady::default(), Arc::new(Task::default()));
        let outer = Waker::from(Arc::clone(&task));
        let (mut turns, mut kept) = (0, Waker::noop().clone());
        let polled = steady.poll(&mut Context::from_waker(&outer), |context| {
            turns += 1;
            kept = context.waker().clone();
            if turns <= that_wake {
                context.waker().wake_by_ref();
                context.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        (turns, task.0.load(Ordering::Relaxed), kept, task, steady)
    }

    #[test]
    fn who_wakes_itself_has_its_next_turn_at_once_and_not_for_ever() {
        let counts = |that_wake| {
            let (turns, asked, ..) = turns(that_wake);
            (turns, asked)
        };
        assert_eq!(counts(0), (1, 0));
        assert_eq!(counts(1), (2, 0));
        assert_eq!(counts(TURNS), (TURNS, 1));
        assert_eq!(counts(100), (TURNS, 1));
    }

    #[test]
    fn who_is_woken_between_its_turns_is_woken_once_and_by_whoever_runs_it_now() {
        let (_, _, kept, task, steady) = turns(0);
        kept.wake_by_ref();
        kept.wake_by_ref();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);

        let other = Arc::new(Task::default());
        let outer = Waker::from(Arc::clone(&other));
        assert!(steady.poll(&mut Context::from_waker(&outer), |_| Poll::<()>::Pending).is_pending());
        kept.wake_by_ref();
        assert_eq!((task.0.load(Ordering::Relaxed), other.0.load(Ordering::Relaxed)), (1, 1));
        assert!(steady.poll(&mut Context::from_waker(&outer), |_| Poll::Ready(())).is_ready());
    }
}
