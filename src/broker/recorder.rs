//! Writes the audit trail without making anybody wait for it.
//!
//! Handing out the token that is at hand costs two atomic operations: the first use of each token by each
//! agent becomes a line at once, and the uses after that are counted and told with the next line.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    AgentHandle, IssuedToken, Problem, ProblemCode,
    repeats::{Charged, Repeats},
};
use crate::{
    clock::SharedClock,
    id::CapabilityKey,
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
/// Tokens and refusals of one agent that are remembered to have their line: more than an agent can have at a
/// time, so that whoever asks for them in turn does not fill the trail.
const MOST_TOLD: usize = 128;

/// Where events go.
pub(super) struct Recorder {
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

impl Recorder {
    /// Starts writing to `store`.
    pub(super) fn start(store: SharedStore, clock: SharedClock, metrics: Arc<Metrics>) -> Self {
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
    pub(super) fn record(&self, event: AuditEvent) {
        self.waiting.push(event);
    }

    /// Adds an event that somebody may bring about as often as they like: the first ones of its kind are lines, the
    /// others are counted. True when it is a line. `what` says what all of its kind have in common.
    pub(super) fn record_repeatable(
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
    pub(super) fn last_repeats(&self) {
        for event in self.repeats.take(self.clock.uptime(), self.clock.now(), true) {
            self.record(event);
        }
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
        now: Timestamp,
        agent: &AgentHandle,
        token: &IssuedToken,
        capabilities: &[CapabilityKey],
    ) {
        agent.audited.last_use.store(now.as_second(), Ordering::Relaxed);
        let Some(before) = agent.audited.used(token) else {
            return;
        };
        self.record(AuditEvent {
            time: now,
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
    pub(super) fn token_refused(&self, now: Timestamp, agent: &AgentHandle, token: &IssuedToken) {
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
    pub(super) fn last_uses(&self, now: Timestamp, agent: &AgentHandle) {
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

    /// The agent was refused a token. Repetitions within the same situation are one line.
    pub(super) fn token_denied(
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

/// What the trail tells of one agent already.
#[derive(Default)]
pub(super) struct Audited {
    /// Tokens handed out since the last line.
    uses: AtomicU64,
    /// When one was handed out last, in seconds; 0 before the first.
    last_use: AtomicI64,
    /// The token that was handed out last.
    last: AtomicU64,
    /// Tokens and refusals that have their line.
    told: Mutex<VecDeque<u64>>,
}

impl Audited {
    /// When the agent was handed a token last, since the daemon started.
    pub(super) fn last_use(&self) -> Option<Timestamp> {
        let seconds = self.last_use.load(Ordering::Relaxed);
        Timestamp::from_second(seconds).ok().filter(|_| seconds != 0)
    }

    /// Counts a use. When it is the first of this token: how many uses there were since the line before.
    fn used(&self, token: &IssuedToken) -> Option<u64> {
        let before = self.uses.fetch_add(1, Ordering::Relaxed);
        // The address alone may be that of an earlier token that is gone.
        let address = std::ptr::from_ref(token) as usize as u64;
        let obtained = token.issued_at.since_start();
        let obtained =
            (obtained.as_secs().cast_unsigned() << 20) ^ u64::from(obtained.subsec_micros().unsigned_abs());
        let token = address ^ obtained.rotate_left(20);
        if self.last.swap(token, Ordering::Relaxed) == token || !self.tell(token) {
            return None;
        }
        self.uses.store(0, Ordering::Relaxed);
        Some(before)
    }

    /// True when a refusal is the first of its kind in the agent's present situation.
    fn denied(&self, revision: u64, problem: &Problem) -> bool {
        let mut kind = DefaultHasher::new();
        (revision, problem.code).hash(&mut kind);
        // The other messages repeat what the caller made up, and would make each call a kind of its own.
        if matches!(problem.code, ProblemCode::State(_) | ProblemCode::NotDeclared) {
            problem.message.hash(&mut kind);
        }
        self.tell(kind.finish())
    }

    /// True when `what` has no line yet; from now on it has.
    fn tell(&self, what: u64) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains(&what) {
            return false;
        }
        if told.len() == MOST_TOLD {
            told.pop_front();
        }
        told.push_back(what);
        true
    }
}

/// The recorder's task.
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
