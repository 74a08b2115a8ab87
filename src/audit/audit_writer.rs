//! Writes the audit trail without making anybody wait for it.
//!
//! Handing out the token that is at hand costs two atomic operations: the first use of each token by each
//! agent becomes a line at once, and the uses after that are counted and told with the next line.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    audit::repeats::{Charged, Repeats},
    clock::{SharedClock, Uptime},
    id::CapabilityKey,
    registry::{handle::AgentHandle, problem::Problem, snapshot::IssuedToken},
    store::{SharedStore, StoreError},
    telemetry::{
        Metrics,
        audit::{Actor, AuditEvent, Concern, Decision},
    },
};

/// Events that wait for the disk at most; beyond that the trail says how many are missing.
const MOST_WAITING: usize = 20_000;
/// Events written at once.
const BATCH: usize = 512;
/// How long after a failure the next attempt is made.
const RETRY: Duration = Duration::from_secs(5);

/// Where events go.
pub(crate) struct AuditWriter {
    clock: SharedClock,
    waiting: Arc<Waiting>,
    repeats: Arc<Repeats>,
    flush: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

struct Waiting {
    events: Mutex<Events>,
    more: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Events {
    list: Vec<AuditEvent>,
    lost: u64,
}

impl Waiting {
    /// Adds an event; where there is no place left, it is only counted.
    fn push(&self, event: AuditEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.list.len() < MOST_WAITING {
            events.list.push(event);
        } else {
            events.lost += 1;
            self.metrics.audit_line_lost();
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
        // What was lost came after everything that was kept.
        if events.lost > 0
            && events.list.is_empty()
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
                concern: Concern::default(),
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

impl AuditWriter {
    /// Starts writing to `store`.
    pub(crate) fn start(store: SharedStore, clock: SharedClock, metrics: Arc<Metrics>) -> Self {
        let waiting = Arc::new(Waiting {
            events: Mutex::default(),
            more: Notify::new(),
            metrics: metrics.clone(),
        });
        let repeats = Arc::new(Repeats::default());
        let (flush, requests) = mpsc::unbounded_channel();
        let writer = RecordWriter {
            waiting: waiting.clone(),
            repeats: repeats.clone(),
            store,
            clock: clock.clone(),
            metrics,
        };
        tokio::spawn(writer.run(requests));
        Self {
            clock,
            waiting,
            repeats,
            flush,
        }
    }

    /// Adds an event.
    pub(crate) fn record(&self, event: AuditEvent) {
        self.waiting.push(event);
    }

    /// Adds an event that somebody may bring about as often as they like: the first ones of its kind are lines, the
    /// others are counted. True when it is a line. `what` says what all of its kind have in common.
    pub(crate) fn record_repeatable(
        &self,
        event: AuditEvent,
        what: &'static str,
        charged: &Charged<'_>,
    ) -> bool {
        let admitted = self.repeats.admit(event, what, charged, self.clock.uptime());
        let told = admitted.is_some();
        if let Some(event) = admitted {
            self.record(event);
        }
        told
    }

    /// Tells what was counted so far: the daemon goes.
    pub(crate) fn last_repeats(&self) {
        for event in self.repeats.take(self.clock.uptime(), self.clock.now(), true) {
            self.record(event);
        }
    }

    /// Waits until everything so far is on disk, or was tried.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.flush.send(done).is_ok() {
            let _ = wait.await;
        }
    }

    /// The agent was given `token` over its socket, at the uptime `used_at`. The wall clock is read for a line alone.
    pub(crate) fn token_used(
        &self,
        used_at: Uptime,
        agent: &AgentHandle,
        token: &IssuedToken,
        capabilities: &[CapabilityKey],
    ) {
        agent.audited.note_use(used_at);
        let Some(before) = agent.audited.used(token) else {
            return;
        };
        self.record(AuditEvent {
            time: self.clock.now(),
            actor: Actor::Agent(agent.name().to_string()),
            action: "token.used",
            integration: Some(token.integration.clone()),
            capabilities: capabilities.to_vec(),
            decision: Decision::Allowed,
            detail: format!("first use of this token; uses since the line before: {before}"),
            concern: agent.concern(),
        });
    }

    /// The agent says that an API refused `token`, and asks for another. Bounded by how often it may.
    pub(crate) fn token_refused(&self, now: Timestamp, agent: &AgentHandle, token: &IssuedToken) {
        self.record(AuditEvent {
            time: now,
            actor: Actor::Agent(agent.name().to_string()),
            action: "token.refresh",
            integration: Some(token.integration.clone()),
            capabilities: Vec::new(),
            decision: Decision::Allowed,
            detail: "asked for another token, because an API refused the one at hand".to_owned(),
            concern: agent.concern(),
        });
    }

    /// Tells the uses that no line tells of yet: the agent goes, or the daemon does.
    pub(crate) fn last_uses(&self, now: Timestamp, agent: &AgentHandle) {
        let uses = agent.audited.uses.swap(0, Ordering::Relaxed);
        if uses == 0 {
            return;
        }
        self.record(AuditEvent {
            time: now,
            actor: Actor::Agent(agent.name().to_string()),
            action: "token.used",
            integration: None,
            capabilities: Vec::new(),
            decision: Decision::Allowed,
            detail: format!("uses since the line before: {uses}"),
            concern: agent.concern(),
        });
    }

    /// The agent was refused a token. Repetitions while its snapshot is the same are one line.
    pub(crate) fn token_denied(
        &self,
        now: Timestamp,
        agent: &AgentHandle,
        asked: &[String],
        problem: &Problem,
    ) {
        if !agent.audited.denied(agent.revision(), problem) {
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
            concern: agent.concern(),
        });
    }
}

/// The audit writer's task.
struct RecordWriter {
    waiting: Arc<Waiting>,
    repeats: Arc<Repeats>,
    store: SharedStore,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

impl RecordWriter {
    /// Writes what comes, until nobody can ask for it any more.
    async fn run(self, mut requests: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
        let mut retry_at = None;
        loop {
            let retry = async {
                match retry_at {
                    Some(at) => self.clock.sleep_until(at).await,
                    None => self.waiting.more.notified().await,
                }
            };
            let request = tokio::select! {
                () = retry => None,
                () = self.repeats.over(&self.clock) => {
                    for event in self.repeats.take(self.clock.uptime(), self.clock.now(), false) {
                        self.waiting.push(event);
                    }
                    continue;
                }
                request = requests.recv() => match request {
                    Some(request) => Some(request),
                    None => return,
                },
            };
            retry_at = match self.write_all().await {
                Ok(()) => None,
                Err(error) => {
                    tracing::error!(%error, "the audit trail could not be written; trying again");
                    self.metrics.audit_failure();
                    Some(self.clock.uptime().after(RETRY))
                }
            };
            if let Some(request) = request {
                let _ = request.send(());
            }
        }
    }

    async fn write_all(&self) -> Result<(), StoreError> {
        loop {
            let batch = self.waiting.take();
            if batch.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.store.append_audit(batch.clone()).await {
                self.waiting.give_back(batch);
                return Err(error);
            }
        }
    }
}
