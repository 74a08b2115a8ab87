//! The real store, with a hand on it: a scene can make it fail or wait, and see when it is idle.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use jiff::Timestamp;
use token_broker::{
    clock::BootMoment,
    id::{AgentName, CapabilityKey, IntegrationId, OwnerId},
    sqlite_store::SqliteStore,
    store::{
        AgentRecord, Contents, DatabaseFacts, DatabaseFault, Grant, HolderRecord, IntegrationRecord,
        RenewalHour, RenewalOutcome, RevocationRecord, Store, StoreError, StoreFuture, TrailFilter,
        TrailPage, TrailPlace, TrailReport, TrailSize,
    },
    telemetry::audit::{AuditEvent, AuditLine, ChainPoint},
};
use tokio::sync::watch;

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Begin,
    Finish,
    Put,
    Delete,
    Settle,
    Audit,
    Agents,
    Secrets,
}

pub(crate) struct Hand {
    store: SqliteStore,
    broken: Mutex<Vec<Part>>,
    refusals: AtomicUsize,
    finish_held: watch::Sender<bool>,
    put_held: watch::Sender<bool>,
    delete_held: watch::Sender<bool>,
    agents_held: watch::Sender<bool>,
    held_now: AtomicUsize,
    busy: AtomicUsize,
    calls: AtomicUsize,
    closed: AtomicBool,
}

impl Hand {
    pub(crate) fn on(store: SqliteStore) -> Arc<Self> {
        Arc::new(Self {
            store,
            broken: Mutex::default(),
            refusals: AtomicUsize::new(0),
            finish_held: watch::Sender::default(),
            put_held: watch::Sender::default(),
            delete_held: watch::Sender::default(),
            agents_held: watch::Sender::default(),
            held_now: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn fail(&self, part: Part) {
        self.broken.lock().unwrap().push(part);
    }

    pub(crate) fn heal(&self) {
        self.broken.lock().unwrap().clear();
    }

    /// How often a call was refused on purpose.
    pub(crate) fn refusals(&self) -> usize {
        self.refusals.load(Ordering::SeqCst)
    }

    /// Commits of renewals wait.
    pub(crate) fn hold_finish(&self, held: bool) {
        self.finish_held.send_replace(held);
    }

    /// Commits of consents wait.
    pub(crate) fn hold_put(&self, held: bool) {
        self.put_held.send_replace(held);
    }

    /// Deletions of accounts wait.
    pub(crate) fn hold_delete(&self, held: bool) {
        self.delete_held.send_replace(held);
    }

    /// Changes of agents wait.
    pub(crate) fn hold_agents(&self, held: bool) {
        self.agents_held.send_replace(held);
    }

    /// How many calls the scene keeps waiting.
    pub(crate) fn held_now(&self) -> usize {
        self.held_now.load(Ordering::SeqCst)
    }

    /// Calls under way that nothing but the disk keeps, and calls so far.
    pub(crate) fn activity(&self) -> (usize, usize) {
        let busy = self.busy.load(Ordering::SeqCst) - self.held_now();
        (busy, self.calls.load(Ordering::SeqCst))
    }

    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.store.close().await;
    }

    fn broken(&self, part: Part) -> Result<(), StoreError> {
        if !self.broken.lock().unwrap().contains(&part) {
            return Ok(());
        }
        self.refusals.fetch_add(1, Ordering::SeqCst);
        Err(StoreError::Storage {
            path: "broker.db".into(),
            fault: DatabaseFault::DiskFull("disk I/O".into()).into(),
        })
    }

    async fn held(&self, gate: &watch::Sender<bool>) {
        if *gate.borrow() {
            self.held_now.fetch_add(1, Ordering::SeqCst);
            let _ = gate.subscribe().wait_for(|held| !held).await;
            self.held_now.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        part: Option<Part>,
        gate: Option<&'a watch::Sender<bool>>,
        work: impl FnOnce() -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        let busy = Busy::begin(self);
        Box::pin(async move {
            let _busy = busy;
            if let Some(gate) = gate {
                self.held(gate).await;
            }
            part.map_or(Ok(()), |part| self.broken(part))?;
            work().await
        })
    }
}

struct Busy<'a>(&'a Hand);

impl<'a> Busy<'a> {
    fn begin(hand: &'a Hand) -> Self {
        hand.busy.fetch_add(1, Ordering::SeqCst);
        hand.calls.fetch_add(1, Ordering::SeqCst);
        Self(hand)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Store for Hand {
    fn load(&self) -> StoreFuture<'_, Contents> {
        self.call(None, None, || self.store.load())
    }

    fn integration(&self, id: &IntegrationId) -> StoreFuture<'_, Option<IntegrationRecord>> {
        let id = id.clone();
        self.call(None, None, move || self.store.integration(&id))
    }

    fn put_integration(
        &self,
        record: IntegrationRecord,
        replaces: Option<u64>,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, u64> {
        self.call(Some(Part::Put), Some(&self.put_held), move || {
            self.store.put_integration(record, replaces, audit)
        })
    }

    fn set_declined(&self, id: &IntegrationId, declined: Arc<[CapabilityKey]>) -> StoreFuture<'_, bool> {
        let id = id.clone();
        self.call(Some(Part::Put), None, move || {
            self.store.set_declined(&id, declined)
        })
    }

    fn begin_renewal(&self, id: &IntegrationId, now: Timestamp) -> StoreFuture<'_, Option<Grant>> {
        let id = id.clone();
        self.call(Some(Part::Begin), None, move || {
            self.store.begin_renewal(&id, now)
        })
    }

    fn finish_renewal(
        &self,
        id: &IntegrationId,
        version: u64,
        outcome: RenewalOutcome,
    ) -> StoreFuture<'_, u64> {
        let id = id.clone();
        self.call(Some(Part::Finish), Some(&self.finish_held), move || {
            self.store.finish_renewal(&id, version, outcome)
        })
    }

    fn delete_integration(&self, id: &IntegrationId, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool> {
        let id = id.clone();
        self.call(Some(Part::Delete), Some(&self.delete_held), move || {
            self.store.delete_integration(&id, audit)
        })
    }

    fn enqueue_revocation(
        &self,
        id: &IntegrationId,
        since: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, bool> {
        let id = id.clone();
        self.call(Some(Part::Delete), Some(&self.delete_held), move || {
            self.store.enqueue_revocation(&id, since, audit)
        })
    }

    fn put_revocation(&self, revocation: RevocationRecord) -> StoreFuture<'_, ()> {
        self.call(None, None, move || self.store.put_revocation(revocation))
    }

    fn complete_revocation(&self, id: &IntegrationId, audit: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        let id = id.clone();
        self.call(Some(Part::Settle), None, move || {
            self.store.complete_revocation(&id, audit)
        })
    }

    fn forget_tokens(&self, id: &IntegrationId) -> StoreFuture<'_, ()> {
        let id = id.clone();
        self.call(Some(Part::Finish), None, move || self.store.forget_tokens(&id))
    }

    fn put_agent(&self, agent: AgentRecord, audit: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        self.call(Some(Part::Agents), Some(&self.agents_held), move || {
            self.store.put_agent(agent, audit)
        })
    }

    fn delete_agent(&self, name: &AgentName, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool> {
        let name = name.clone();
        self.call(Some(Part::Agents), Some(&self.agents_held), move || {
            self.store.delete_agent(&name, audit)
        })
    }

    fn give_way(&self, name: &AgentName, audit: Vec<AuditEvent>) -> StoreFuture<'_, bool> {
        let name = name.clone();
        self.call(Some(Part::Agents), None, move || {
            self.store.give_way(&name, audit)
        })
    }

    fn change_holders(&self, kept: Vec<HolderRecord>, gone: Vec<AgentName>) -> StoreFuture<'_, ()> {
        self.call(Some(Part::Secrets), None, move || {
            self.store.change_holders(kept, gone)
        })
    }

    fn is_event_known(&self, id: &str) -> StoreFuture<'_, bool> {
        let id = id.to_owned();
        self.call(None, None, move || self.store.is_event_known(&id))
    }

    fn remember_event(
        &self,
        id: &str,
        account: Option<&IntegrationId>,
        now: Timestamp,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, ()> {
        let (id, account) = (id.to_owned(), account.cloned());
        self.call(None, None, move || {
            self.store.remember_event(&id, account.as_ref(), now, audit)
        })
    }

    fn append_audit(&self, events: Vec<AuditEvent>) -> StoreFuture<'_, ()> {
        self.call(Some(Part::Audit), None, move || self.store.append_audit(events))
    }

    fn audit(&self, after: u64, limit: u32, newest: bool) -> StoreFuture<'_, Vec<AuditLine>> {
        self.call(None, None, move || self.store.audit(after, limit, newest))
    }

    fn trail(&self, filter: TrailFilter, place: TrailPlace, limit: u32) -> StoreFuture<'_, TrailPage> {
        self.call(None, None, move || self.store.trail(filter, place, limit))
    }

    fn renewals<'a>(
        &'a self,
        owner: Option<&OwnerId>,
        from: Timestamp,
        hours: u32,
    ) -> StoreFuture<'a, Vec<RenewalHour>> {
        let owner = owner.cloned();
        self.call(None, None, move || {
            self.store.renewals(owner.as_ref(), from, hours)
        })
    }

    fn facts(&self) -> StoreFuture<'_, DatabaseFacts> {
        self.call(None, None, || self.store.facts())
    }

    fn trail_head(&self) -> StoreFuture<'_, ChainPoint> {
        self.call(None, None, || self.store.trail_head())
    }

    fn lasting_head(&self, now: Timestamp) -> StoreFuture<'_, ChainPoint> {
        self.call(None, None, move || self.store.lasting_head(now))
    }

    fn verify_audit(&self, head: Option<ChainPoint>) -> StoreFuture<'_, TrailReport> {
        self.call(None, None, || self.store.verify_audit(head))
    }

    fn tick_trail(&self, now: Timestamp, moment: Option<BootMoment>) -> StoreFuture<'_, Timestamp> {
        self.call(None, None, move || self.store.tick_trail(now, moment))
    }

    fn count_audit(&self, before: Timestamp) -> StoreFuture<'_, u64> {
        self.call(None, None, move || self.store.count_audit(before))
    }

    fn prune_audit(&self, before: Timestamp) -> StoreFuture<'_, u64> {
        self.call(None, None, move || self.store.prune_audit(before))
    }

    fn bound_audit(&self, most: u64) -> StoreFuture<'_, u64> {
        self.call(None, None, move || self.store.bound_audit(most))
    }

    fn trail_size(&self) -> StoreFuture<'_, TrailSize> {
        self.call(None, None, || self.store.trail_size())
    }
}
