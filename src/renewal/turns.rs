//! Whose turn it is: one renewal at a time per account, some at a time in all.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use crate::{
    id::IntegrationId,
    registry::{keys::TokenKey, renewal_fault::RenewalFault, state::SharedRegistry, tokens::Cause},
    renewal::{
        outcome::Refused, publisher::Publisher, recovery::Recovery, schedule::Schedule, services::Services,
    },
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
        self.turns.release_queued(&self.integration);
    }
}

/// Lets one at a time use an account's grant.
pub(crate) struct Turns {
    pub(crate) registry: Arc<SharedRegistry>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) recovery: Arc<Recovery>,
    schedule: Arc<Schedule>,
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
            schedule: services.schedule.clone(),
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

    /// Sends a token that is due on its way, unless another of the account has the turn: then it waits for that.
    pub(crate) fn send(&self, key: &TokenKey) -> bool {
        let registry = self.registry.lock();
        let Some(account) = registry.accounts.get(&key.integration) else {
            self.schedule.cancel(key);
            return false;
        };
        self.schedule.send(key, account.turn.try_lock().is_ok())
    }

    /// A token that was sent has come to an end.
    pub(crate) fn arrived(&self, key: &TokenKey) {
        if self.schedule.arrive(key) {
            // Whatever comes of a renewal moves the token elsewhere: this one was lost.
            self.recovery.settle(key, lost);
        }
        self.release_queued(&key.integration);
    }

    /// What waited for the account's turn is due again, as far as it still is.
    fn release_queued(&self, id: &IntegrationId) {
        let registry = self.registry.lock();
        for key in self.schedule.take_queued(id) {
            self.publisher.schedule_by_need(&registry, &key);
        }
    }
}

pub(crate) fn lost() -> Refused {
    Refused::operator(Cause::Other, RenewalFault::Interrupted)
}
