//! The tasks of a running daemon. One that panics or ends by itself ends the daemon.

use std::{collections::HashMap, future::Future};

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// Tasks by their names.
#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<()>,
    known: HashMap<Id, Known>,
}

struct Known {
    name: &'static str,
    /// The daemon cannot be without it.
    needed: bool,
}

impl Tasks {
    /// Runs what the daemon cannot be without: its end before the daemon's is a fault.
    pub(super) fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.set.spawn(work);
        self.note(&task, Known { name, needed: true });
    }

    /// Runs what may end when its work is done; only a panic is a fault.
    pub(super) fn spawn_passing(
        &mut self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.set.spawn(work);
        self.note(&task, Known { name, needed: false });
    }

    fn note(&mut self, task: &AbortHandle, known: Known) {
        self.known.insert(task.id(), known);
    }

    /// Waits for a task to panic, or to end that should not; says so in a sentence.
    pub(super) async fn fault(&mut self) -> String {
        loop {
            let Some(ended) = self.set.join_next_with_id().await else {
                return std::future::pending().await;
            };
            if let Some(fault) = self.judge(&ended) {
                return fault;
            }
        }
    }

    /// Waits for all to end, after they were told to.
    pub(super) async fn ended(&mut self) {
        while let Some(ended) = self.set.join_next_with_id().await {
            if ended.is_err()
                && let Some(fault) = self.judge(&ended)
            {
                tracing::error!("{fault}");
            }
        }
    }

    fn judge(&mut self, ended: &Result<(Id, ()), JoinError>) -> Option<String> {
        let (id, panicked) = match ended {
            Ok((id, ())) => (*id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let known = self.known.remove(&id)?;
        let name = known.name;
        if panicked {
            Some(format!("a part of the daemon panicked: {name}"))
        } else {
            known
                .needed
                .then(|| format!("a part of the daemon ended by itself: {name}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_and_an_early_end_are_faults() {
        let mut tasks = Tasks::default();
        tasks.spawn_passing("tidying", async {});
        tasks.spawn("writing", async { panic!("on purpose") });
        assert_eq!(tasks.fault().await, "a part of the daemon panicked: writing");
        tasks.spawn("serving", async {});
        assert_eq!(
            tasks.fault().await,
            "a part of the daemon ended by itself: serving"
        );
        tasks.spawn_passing("tidying", async { panic!("on purpose") });
        assert_eq!(tasks.fault().await, "a part of the daemon panicked: tidying");
    }

    #[tokio::test]
    async fn what_goes_on_is_no_fault() {
        let mut tasks = Tasks::default();
        tasks.spawn_passing("tidying", async {});
        tasks.spawn("serving", std::future::pending());
        let fault = tokio::time::timeout(std::time::Duration::from_millis(1), tasks.fault());
        assert!(fault.await.is_err());
    }
}
