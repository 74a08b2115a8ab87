//! Whether a task still goes round: it is asked, and answers between two pieces of its work.

use tokio::sync::{mpsc, oneshot};

/// The side that asks.
#[derive(Clone)]
pub struct Probe(mpsc::Sender<oneshot::Sender<()>>);

/// The task's side.
pub struct Pulse(mpsc::Receiver<oneshot::Sender<()>>);

/// The task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

/// A pulse and the probe that feels it.
pub fn pulse() -> (Probe, Pulse) {
    let (asking, asked) = mpsc::channel(1);
    (Probe(asking), Pulse(asked))
}

impl Probe {
    /// Waits until the task comes round to answer.
    ///
    /// # Errors
    /// When it never will.
    pub async fn answer(&self) -> Result<(), Ended> {
        let (reply, answer) = oneshot::channel();
        self.0.send(reply).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }
}

impl Pulse {
    /// Answers the next question. Waits for ever where nobody is left to ask, so it can be one arm among others.
    pub async fn beat(&mut self) {
        match self.0.recv().await {
            // Whoever asked may have gone away.
            Some(reply) => drop(reply.send(())),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_answers_while_it_goes_round_and_its_end_is_seen() {
        let (probe, mut pulse) = pulse();
        let task = tokio::spawn(async move {
            pulse.beat().await;
            pulse.beat().await;
        });
        assert_eq!(probe.answer().await, Ok(()));
        assert_eq!(probe.answer().await, Ok(()));
        task.await.unwrap();
        assert_eq!(probe.answer().await, Err(Ended));
    }

    #[tokio::test]
    async fn nobody_to_ask_is_no_reason_to_go_round_faster() {
        let (probe, mut pulse) = pulse();
        drop(probe);
        let beat = tokio::time::timeout(std::time::Duration::from_millis(1), pulse.beat());
        assert!(beat.await.is_err());
    }
}
