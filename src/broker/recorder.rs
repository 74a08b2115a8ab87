//! Writes the audit trail without making anybody wait for it.
//!
//! Handing out the token that is at hand costs two atomic operations: the first use of each token by each
//! agent becomes a line at once, and the uses after that are counted and told with the next line.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{AgentHandle, IssuedToken, Problem};
use crate::{
    clock::SharedClock,
    id::CapabilityKey,
    store::SharedStore,
    telemetry::{
        Metrics,
        audit::{Actor, AuditEvent, Decision},
    },
};

/// Events that wait for the disk at most; beyond that the trail says how many are missing.
const MOST_WAITING: usize = 20_000;
/// Events written at once.
const BATCH: usize = 512;

/// Where events go.
pub(super) struct Recorder {
    waiting: Arc<Waiting>,
    clock: SharedClock,
    flush: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Waiting {
    events: Mutex<Events>,
    more: Notify,
}

#[derive(Default)]
struct Events {
    list: Vec<AuditEvent>,
    lost: u64,
}

impl Waiting {
    fn push(&self, event: AuditEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.list.len() < MOST_WAITING {
            events.list.push(event);
        } else {
            events.lost += 1;
        }
        drop(events);
        self.more.notify_one();
    }

    fn take(&self) -> Vec<AuditEvent> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch: Vec<AuditEvent> = {
            let count = events.list.len().min(BATCH);
            events.list.drain(..count).collect()
        };
        if events.lost > 0
            && let Some(last) = batch.last()
        {
            let note = AuditEvent {
                time: last.time,
                actor: Actor::Daemon,
                action: "audit.gap",
                integration: None,
                capabilities: Vec::new(),
                decision: Decision::Failed,
                detail: format!(
                    "{} events were lost while the database could not be written",
                    events.lost
                ),
            };
            events.lost = 0;
            batch.push(note);
        }
        batch
    }

    fn give_back(&self, batch: Vec<AuditEvent>) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.list.splice(..0, batch);
    }
}

impl Recorder {
    /// Starts writing to `store`.
    pub(super) fn start(store: SharedStore, clock: SharedClock, metrics: Arc<Metrics>) -> Self {
        let waiting = Arc::new(Waiting::default());
        let (flush, requests) = mpsc::unbounded_channel();
        tokio::spawn(write(waiting.clone(), store, clock.clone(), metrics, requests));
        Self {
            waiting,
            clock,
            flush,
        }
    }

    /// Adds an event.
    pub(super) fn record(&self, event: AuditEvent) {
        self.waiting.push(event);
    }

    /// Waits until everything so far is on disk, or was tried.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.flush.send(done).is_ok() {
            let _ = wait.await;
        }
    }

    /// The agent was given `token` over its socket.
    pub(super) fn token_used(
        &self,
        agent: &AgentHandle,
        token: &IssuedToken,
        capabilities: &[CapabilityKey],
    ) {
        agent.uses.fetch_add(1, Ordering::Relaxed);
        let issue = token.issued_at.as_millisecond();
        if agent.audited_issue.load(Ordering::Relaxed) == issue {
            return;
        }
        agent.audited_issue.store(issue, Ordering::Relaxed);
        let before = agent.uses.swap(1, Ordering::Relaxed).saturating_sub(1);
        self.record(AuditEvent {
            time: self.clock.now(),
            actor: Actor::Agent(agent.name().to_string()),
            action: "token.used",
            integration: Some(token.integration.clone()),
            capabilities: capabilities.to_vec(),
            decision: Decision::Allowed,
            detail: format!("first use of this token; uses since the line before: {before}"),
        });
    }

    /// The agent was refused a token. Repetitions within the same situation are one line.
    pub(super) fn token_denied(
        &self,
        now: Timestamp,
        agent: &AgentHandle,
        asked: &[String],
        problem: &Problem,
    ) {
        let revision = agent.revision();
        if agent.audited_denial.swap(revision, Ordering::Relaxed) == revision {
            return;
        }
        self.record(AuditEvent {
            time: now,
            actor: Actor::Agent(agent.name().to_string()),
            action: "token.denied",
            integration: None,
            capabilities: asked.iter().filter_map(|name| name.parse().ok()).collect(),
            decision: Decision::Denied,
            detail: format!("{}: {}", problem.code.as_str(), problem.message),
        });
    }
}

async fn write(
    waiting: Arc<Waiting>,
    store: SharedStore,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    mut requests: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
) {
    loop {
        let request = tokio::select! {
            () = waiting.more.notified() => None,
            request = requests.recv() => match request {
                Some(request) => Some(request),
                None => return,
            },
        };
        loop {
            let batch = waiting.take();
            if batch.is_empty() {
                break;
            }
            if let Err(error) = store.append_audit(batch.clone()).await {
                tracing::error!(%error, "the audit trail could not be written; trying again");
                metrics.audit_failure();
                waiting.give_back(batch);
                if request.is_some() {
                    break;
                }
                clock
                    .sleep_until(crate::clock::after(
                        clock.now(),
                        std::time::Duration::from_secs(5),
                    ))
                    .await;
            }
        }
        if let Some(request) = request {
            let _ = request.send(());
        }
    }
}
