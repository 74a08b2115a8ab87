//! Single flight: however many ask for the same thing at once, it is done once, and to its end, also when
//! whoever asked first goes away.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Where a flight ends.
#[derive(Clone)]
pub(crate) struct Waiter<V>(watch::Receiver<Option<V>>);

impl<V: Clone> Waiter<V> {
    /// What came of the flight; `None` when it was lost.
    pub(crate) async fn wait(mut self) -> Option<V> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// Work under way, by key: who asks for the same joins it.
pub(crate) struct SingleFlight<K, V> {
    under_way: Arc<Mutex<HashMap<K, Waiter<V>>>>,
    tasks: TaskTracker,
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self {
            under_way: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the flight for `key`, or starts `work` as one. `None` when the flight was lost: its task
    /// panicked, or the program is going down.
    pub(crate) async fn join<F>(&self, key: &K, work: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.start(key, work).wait().await
    }

    /// Like [`Self::join`], for whoever does not wait here for what comes of it.
    pub(crate) fn start<F>(&self, key: &K, work: impl FnOnce() -> F) -> Waiter<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiter) = under_way.get(key) {
            return waiter.clone();
        }
        let (result, waiter) = watch::channel(None);
        let waiter = Waiter(waiter);
        under_way.insert(key.clone(), waiter.clone());
        let gate = Gate {
            under_way: self.under_way.clone(),
            key: key.clone(),
        };
        let work = work();
        self.tasks.spawn(async move {
            let value = work.await;
            // Newcomers start a flight of their own from here on: they may know something that this flight
            // did not.
            drop(gate);
            result.send_replace(Some(value));
        });
        waiter
    }
}

impl<K: Eq + Hash, V: Clone> SingleFlight<K, V> {
    /// What the flight for `key` that is under way ends with; `None` when there is none, or when it was lost.
    pub(crate) async fn join_under_way(&self, key: &K) -> Option<V> {
        let waiter = {
            let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.get(key)?.clone()
        };
        waiter.wait().await
    }
}

impl<K: Eq + Hash, V> SingleFlight<K, V> {
    /// True while there is a flight for `key`.
    pub(crate) fn is_under_way(&self, key: &K) -> bool {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(key)
    }

    /// Runs other work that must come to its end once it has begun, whether or not its caller stays.
    pub(crate) fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tasks.spawn(work)
    }

    /// Waits until no flight and no other such work is under way. New ones may begin all the same.
    pub(crate) async fn wait_idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Takes the flight off the list when it ends, also by a panic.
struct Gate<K: Eq + Hash, V> {
    under_way: Arc<Mutex<HashMap<K, Waiter<V>>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Gate<K, V> {
    fn drop(&mut self) {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn many_askers_share_one_flight_and_the_first_may_leave() {
        let single_flight = Arc::new(SingleFlight::<&str, u32>::default());
        let (started, go, count) = (
            Arc::new(Notify::new()),
            Arc::new(Notify::new()),
            Arc::new(AtomicU32::new(0)),
        );
        let ask = || {
            let (single_flight, started, go, count) =
                (single_flight.clone(), started.clone(), go.clone(), count.clone());
            tokio::spawn(async move {
                single_flight
                    .join(&"key", || async move {
                        started.notify_one();
                        go.notified().await;
                        count.fetch_add(1, Ordering::SeqCst) + 1
                    })
                    .await
            })
        };
        let first = ask();
        started.notified().await;
        let others: Vec<_> = (0..63).map(|_| ask()).collect();
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        go.notify_one();
        for other in others {
            assert_eq!(other.await.unwrap(), Some(1));
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panic_frees_the_key() {
        let single_flight = SingleFlight::<&str, u32>::default();
        assert_eq!(
            single_flight
                .join(&"key", || async { panic!("on purpose") })
                .await,
            None
        );
        assert_eq!(single_flight.join(&"key", || async { 7 }).await, Some(7));
    }
}
