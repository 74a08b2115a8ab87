//! A few threads for work that may block.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many threads there may be when some of them hang.
const MOST_WORKERS: usize = 64;

/// Items are worked off in order by at most `width` threads at a time. They are taken one by one, so an item
/// that hangs holds up its own thread and nobody else's item.
pub(crate) struct Pool<T> {
    state: Mutex<State<T>>,
    work: Box<dyn Fn(T) + Send + Sync>,
}

struct State<T> {
    waiting: VecDeque<T>,
    workers: usize,
    width: usize,
    finished: u64,
    /// What `finished` was when it was last looked at.
    observed: u64,
    /// There may be no more threads, and none of them finished anything between the last two looks.
    exhausted: bool,
}

impl<T> State<T> {
    fn finish(&mut self) {
        self.finished += 1;
        self.exhausted = false;
    }
}

impl<T: Send + 'static> Pool<T> {
    pub(crate) fn new(width: usize, work: impl Fn(T) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                workers: 0,
                width,
                finished: 0,
                observed: 0,
                exhausted: false,
            }),
            work: Box::new(work),
        })
    }

    /// Adds an item. To be called within a tokio runtime.
    pub(crate) fn push(self: &Arc<Self>, item: T) {
        let mut state = self.state();
        state.waiting.push_back(item);
        if state.workers < state.width {
            self.start_worker(&mut state);
        }
    }

    /// To be called every now and then: when nothing was finished since the last time although something
    /// waits, all threads hang, and one more is started.
    pub(crate) fn unblock(self: &Arc<Self>) {
        let mut state = self.state();
        let stuck = state.finished == state.observed && !state.waiting.is_empty();
        state.observed = state.finished;
        state.exhausted = stuck && state.workers >= MOST_WORKERS;
        if stuck && state.workers < MOST_WORKERS {
            self.start_worker(&mut state);
        }
    }

    /// True when as many threads as there may be hang.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.state().exhausted
    }

    /// True when there is nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        state.workers == 0 && state.waiting.is_empty()
    }

    fn start_worker(self: &Arc<Self>, state: &mut State<T>) {
        state.workers += 1;
        let pool = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let worker = Worker(&pool);
            while let Some(item) = worker.next() {
                (pool.work)(item);
                pool.state().finish();
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts itself out, also when an item panics.
struct Worker<'a, T: Send + 'static>(&'a Arc<Pool<T>>);

impl<T: Send + 'static> Worker<'_, T> {
    fn next(&self) -> Option<T> {
        self.0.state().waiting.pop_front()
    }
}

impl<T: Send + 'static> Drop for Worker<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.workers -= 1;
        // An item that came between the last look and now must not wait for the next one.
        if !state.waiting.is_empty() && state.workers < state.width {
            self.0.start_worker(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_item_is_worked_off() {
        let (sender, receiver) = mpsc::channel();
        let pool = Pool::new(3, move |item: u32| sender.send(item).unwrap());
        for item in 0..1000 {
            pool.push(item);
        }
        let mut seen: Vec<u32> = (0..1000).map(|_| receiver.recv().unwrap()).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..1000));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn items_that_hang_do_not_hold_up_the_others() {
        let (sender, receiver) = mpsc::channel();
        let gate = Arc::new(std::sync::Barrier::new(3));
        let hanging = gate.clone();
        let pool = Pool::new(2, move |item: u32| {
            if item < 2 {
                hanging.wait();
            }
            sender.send(item).unwrap();
        });
        for item in 0..4 {
            pool.push(item);
        }
        // One more thread works off the rest alone, so in order.
        pool.unblock();
        assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (2, 3));
        gate.wait();
        assert_eq!(receiver.recv().unwrap() + receiver.recv().unwrap(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_costs_no_thread() {
        let (sender, receiver) = mpsc::channel();
        let pool = Pool::new(1, move |item: u32| {
            assert!(item > 0, "on purpose");
            sender.send(item).unwrap();
        });
        pool.push(0);
        pool.push(1);
        assert_eq!(receiver.recv(), Ok(1));
    }
}
