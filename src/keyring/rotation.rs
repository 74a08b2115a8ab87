//! Rotation: a new key takes the place of the active one, and what lies under the old one is moved, while everything goes on.

use std::{sync::Arc, time::Duration};

use jiff::{Timestamp, ToSpan};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{KeyringError, KeyringParts, opening, parts};
use crate::{
    secret::Key,
    store::{KeyRecord, KeyState, KeyringFault, RowPlace, RowsSeen, StoreError, StoredKeyring},
    telemetry::audit::{Actor, AuditEvent, Decision},
    vault::{self, KeyId, Keyring},
};

/// How often keys are looked for that were kept for their time.
const UPKEEP: Duration = Duration::from_secs(3600);
/// The pause after the store refused a step.
const AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// How far a rotation is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The key that things lie under when it has ended: the active one. `None` before the first rotation of this process.
    pub active: Option<KeyId>,
    /// The keys that are on their way out; none when it has ended.
    pub retiring: Vec<KeyId>,
    /// What the walk over the rows has found so far.
    pub seen: RowsSeen,
    /// How many rows there were when the walk began.
    pub rows: u64,
    /// Why it does not go on at the moment; it is tried again.
    pub trouble: Option<String>,
}

/// The rotation of keys.
pub struct Rotation {
    parts: Arc<KeyringParts>,
    progress: watch::Sender<Progress>,
    begun: Notify,
}

impl Rotation {
    /// Made of these parts.
    pub fn new(parts: Arc<KeyringParts>) -> Self {
        Self {
            parts,
            progress: watch::Sender::default(),
            begun: Notify::new(),
        }
    }

    /// Makes another key the active one; where a rotation is under way, that one goes on. Returns the active key: when
    /// [`Self::progress`] says that none is retiring, everything lies under it.
    ///
    /// # Errors
    /// The seal or the store does not do it: nothing has changed.
    pub(super) async fn rotate(&self, actor: Actor) -> Result<KeyId, KeyringError> {
        let _turn = self.parts.turn.lock().await;
        let before = self.parts.keys.keyring().await?;
        self.parts.check(&before)?;
        let active = before.active().ok_or(KeyringFault::NotOneActive(0))?.clone();
        if before.keys.iter().any(|key| key.state == KeyState::Retiring) {
            self.begun.notify_one();
            return Ok(active.id);
        }
        let (before, key) = self.pending(before).await?;
        let id = KeyId::of(&key);
        let now = self.parts.moment().await;
        let turned = |record: &KeyRecord| match record.state {
            KeyState::Active => Some(KeyState::Retiring),
            KeyState::Pending if record.id == id => Some(KeyState::Active),
            _ => None,
        };
        let ring = self.parts.vault.keyring().activated(key.clone());
        let after = self.turned(&before, now, turned, &ring)?;
        let event = AuditEvent {
            detail: format!("key {id} in place of key {}", active.id),
            ..AuditEvent::new(self.parts.clock.now(), actor, "key.rotated", Decision::Allowed)
        };
        self.parts.put(before, after, vec![event]).await?;
        self.parts.vault.activate(&key);
        tracing::info!(key = %id, former = %active.id, "the keyring was rotated: what lies under the former key is moved");
        self.progress.send_replace(Progress {
            active: Some(id),
            retiring: vec![active.id],
            ..Progress::default()
        });
        self.begun.notify_one();
        Ok(id)
    }

    /// How far the rotation under way is, or how the last one ended.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Why a rotation stands still, where one does.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.progress.borrow().trouble.clone()?;
        Some(format!(
            "the rotation of keys does not go on, and is tried again: {trouble}"
        ))
    }

    /// Moves what lies under retiring keys, now and whenever a rotation begins, and forgets keys that were kept for their time.
    /// Until `shutdown`; what it had not moved by then is moved after the next start.
    pub async fn run(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.work() => {}
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.begun.notified() => {}
                () = sleep(UPKEEP) => {}
            }
        }
    }

    async fn work(&self) {
        while let Err(error) = self.finish().await {
            tracing::error!("the keyring's rotation does not go on, and is tried again: {error}");
            let trouble = Some(error.to_string());
            self.progress.send_modify(|progress| progress.trouble = trouble);
            sleep(AFTER_REFUSAL).await;
        }
        if let Err(error) = self.forget().await {
            tracing::warn!("keys of the keyring that were kept for their time are still there: {error}");
        }
    }

    /// Brings the rotation under way to its end, where one is.
    async fn finish(&self) -> Result<(), KeyringError> {
        let keyring = self.parts.keys.keyring().await?;
        let retiring = keyring.keys.iter().filter(|key| key.state == KeyState::Retiring);
        let retiring: Vec<KeyId> = retiring.map(|key| key.id).collect();
        if retiring.is_empty() {
            self.progress
                .send_if_modified(|progress| progress.trouble.take().is_some());
            return Ok(());
        }
        let rows = self.parts.keys.keyed_rows().await?;
        self.progress.send_replace(Progress {
            active: keyring.active().map(|key| key.id),
            retiring: retiring.clone(),
            rows,
            ..Progress::default()
        });
        self.walk().await?;
        let seen = self.progress.borrow().seen.clone();
        self.retire(&retiring, &seen).await?;
        self.progress.send_modify(|progress| {
            progress.retiring.clear();
            progress.trouble = None;
        });
        Ok(())
    }

    /// Moves every row that does not lie under the active key. As nothing new comes to lie under another one, one walk does.
    async fn walk(&self) -> Result<(), StoreError> {
        let mut next = Some(RowPlace::default());
        while let Some(place) = next {
            let began = Instant::now();
            let step = self.parts.keys.move_rows(place).await?;
            self.progress.send_modify(|progress| {
                progress.seen.add(step.seen);
                progress.trouble = None;
            });
            next = step.next;
            // Half of the store's time is for everybody else.
            sleep(began.elapsed()).await;
        }
        Ok(())
    }

    /// Nothing that can be used lies under these keys any more.
    async fn retire(&self, ids: &[KeyId], seen: &RowsSeen) -> Result<(), KeyringError> {
        let _turn = self.parts.turn.lock().await;
        let before = self.parts.keys.keyring().await?;
        let now = self.parts.moment().await;
        let retired = |record: &KeyRecord| ids.contains(&record.id).then_some(KeyState::Retired);
        let mut after = self.turned(&before, now, retired, &self.parts.vault.keyring())?;
        // Those that were kept already lie under the key that goes.
        for record in after.keys.iter_mut().filter(|key| key.state == KeyState::Retired) {
            if let Err(error) = record.keep_on(&self.parts.vault) {
                tracing::error!("a key that was kept for backups is lost: {error}");
            }
        }
        for record in &seen.unusable {
            tracing::error!("a record was not moved to the active key, and is not used: {record}");
        }
        let detail = |id: &KeyId| match seen.unusable_count {
            0 => format!("key {id}: nothing lies under it any more"),
            count => {
                format!("key {id}: nothing lies under it any more but {count} records that cannot be used")
            }
        };
        let events = ids.iter().map(|id| AuditEvent {
            detail: detail(id),
            ..AuditEvent::new(
                self.parts.clock.now(),
                Actor::Daemon,
                "key.retired",
                Decision::Allowed,
            )
        });
        self.parts.put(before, after, events.collect()).await?;
        for id in ids {
            self.parts.vault.retire(*id);
            tracing::info!(key = %id, moved = seen.moved, unusable = seen.unusable_count, "the key is retired");
        }
        Ok(())
    }

    /// The key that takes the active one's place, kept and pending: the one that a rotation left that was cut off, or a new one.
    async fn pending(&self, before: StoredKeyring) -> Result<(StoredKeyring, Key), KeyringError> {
        let seals = self.parts.seals.read().await;
        let mut after = before.clone();
        if let Some(left) = before.keys.iter().find(|key| key.state == KeyState::Pending) {
            match opening::unwrap_one(&seals, &before.store, left).await {
                Ok(key) => return Ok((before, key)),
                Err(away) if away.is_away() => return Err(away),
                // Nothing lies under it.
                Err(_) => after.keys.retain(|key| key.state != KeyState::Pending),
            }
        }
        let key = vault::key::generate(&*self.parts.entropy);
        let wrapped = parts::wrap(&seals.current, &before.store, &key).await?;
        let now = self.parts.moment().await;
        let record = KeyRecord::new(&before.store, &key, KeyState::Pending, now, now, wrapped);
        after.keys.push(record);
        confirm(&mut after, &self.parts.vault.keyring())?;
        self.parts.put(before, after, Vec::new()).await?;
        // As it is kept.
        Ok((self.parts.keys.keyring().await?, key))
    }

    /// The keyring after keys come to other states. `ring` has those, and the key that is active then.
    fn turned(
        &self,
        before: &StoredKeyring,
        now: Timestamp,
        state: impl Fn(&KeyRecord) -> Option<KeyState>,
        ring: &Keyring,
    ) -> Result<StoredKeyring, KeyringFault> {
        let mut after = before.clone();
        for record in &mut after.keys {
            let Some(state) = state(record) else { continue };
            // Somebody put it there: this daemon never had it.
            let key = ring.key(record.id).ok_or(KeyringFault::Altered(record.id))?;
            *record = record.turned(&before.store, key, state, now);
            if state == KeyState::Retired {
                record.keep(&self.parts.vault, key);
            }
        }
        confirm(&mut after, ring)?;
        Ok(after)
    }

    /// Forgets retired keys that were kept for their time.
    pub(super) async fn forget(&self) -> Result<(), StoreError> {
        let _turn = self.parts.turn.lock().await;
        let before = self.parts.keys.keyring().await?;
        if !before.keys.iter().any(|key| key.state == KeyState::Retired) {
            return Ok(());
        }
        let kept = (i64::from(self.parts.keep_days) * 24).hours();
        let oldest = self
            .parts
            .trail_time()
            .await?
            .checked_sub(kept)
            .unwrap_or(Timestamp::MIN);
        let mut after = before.clone();
        after
            .keys
            .retain(|key| key.state != KeyState::Retired || key.changed_at > oldest);
        let gone: Vec<KeyId> = before.keys.iter().map(|key| key.id).collect();
        let gone = gone.into_iter().filter(|id| after.key(*id).is_none());
        let events: Vec<AuditEvent> = gone
            .map(|id| AuditEvent {
                detail: format!("key {id} was kept for {} days", self.parts.keep_days),
                ..AuditEvent::new(
                    self.parts.clock.now(),
                    Actor::Daemon,
                    "key.forgotten",
                    Decision::Allowed,
                )
            })
            .collect();
        if events.is_empty() {
            return Ok(());
        }
        self.parts.put(before, after, events).await
    }
}

/// Binds a keyring to its active key, which `ring` has.
fn confirm(keyring: &mut StoredKeyring, ring: &Keyring) -> Result<(), KeyringFault> {
    let active = keyring.active().ok_or(KeyringFault::NotOneActive(0))?.id;
    keyring.confirm(ring.key(active).ok_or(KeyringFault::Altered(active))?);
    Ok(())
}
