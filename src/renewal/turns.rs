//! Whose turn it is: one renewal at a time per account, some at a time in all.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use crate::{
    id::IntegrationId,
    registry::{keys::TokenKey, state::SharedRegistry, tokens::Cause},
    renewal::{outcome::Refused, publisher::Publisher, recovery::Recovery, services::Services},
};

/// An account's turn. Whoever has it may use the grant; whoever came due meanwhile is due again at its end.
/// Not to be dropped while the registry is held.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    integration: IntegrationId,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.held.take());
        self.turns.unpark(&self.integration);
    }
}

/// Lets one at a time use an account's grant.
pub(crate) struct Turns {
    pub(crate) registry: Arc<SharedRegistry>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) recovery: Arc<Recovery>,
}

impl Turns {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        services: &Services,
        publisher: &Arc<Publisher>,
        recovery: &Arc<Recovery>,
    ) -> Arc<Self> {
        Arc::new(Self {
            registry: services.registry.clone(),
            publisher: publisher.clone(),
            recovery: recovery.clone(),
        })
    }

    /// Waits for the account's turn. `None` when the account is gone by then.
    pub(crate) async fn turn(self: &Arc<Self>, id: &IntegrationId) -> Option<Turn> {
        let turn = self.registry.lock().accounts.get(id)?.turn.clone();
        let held = turn.clone().lock_owned().await;
        let here = self
            .registry
            .lock()
            .accounts
            .get(id)
            .is_some_and(|account| Arc::ptr_eq(&account.turn, &turn));
        here.then(|| Turn {
            turns: self.clone(),
            integration: id.clone(),
            held: Some(held),
        })
    }

    /// Sends a key that is due on its way, unless another of the account has the turn: then it is parked.
    pub(crate) fn send(&self, key: &TokenKey) -> bool {
        let mut registry = self.registry.lock();
        let Some(account) = registry.accounts.get_mut(&key.integration) else {
            return false;
        };
        if account.sent.is_some() || account.turn.try_lock().is_err() {
            account.parked.insert(key.clone());
            return false;
        }
        account.sent = Some(key.clone());
        true
    }

    pub(crate) fn arrived(&self, key: &TokenKey) {
        if let Some(account) = self.registry.lock().accounts.get_mut(&key.integration) {
            account.sent = None;
        }
        // Whatever came of it has its place in the queue by now, unless the renewal was lost.
        self.recovery.settle(key, lost);
        self.unpark(&key.integration);
    }

    /// What waited for the account's turn is due again, as far as it still is.
    fn unpark(&self, id: &IntegrationId) {
        let mut registry = self.registry.lock();
        let Some(account) = registry.accounts.get_mut(id) else {
            return;
        };
        if account.sent.is_some() {
            // It would only be parked again: the one under way does this on arrival.
            return;
        }
        for key in std::mem::take(&mut account.parked) {
            self.publisher.schedule_by_need(&registry, &key);
        }
    }
}

pub(crate) fn lost() -> Refused {
    Refused::operator(
        Cause::Other,
        "The renewal was interrupted; see the daemon's log.".to_owned(),
    )
}
