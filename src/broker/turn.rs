//! Whose turn it is: one renewal at a time per account, some at a time in all.

use std::sync::Arc;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    AgentState, Broker, IssuedToken, TokenKey,
    renewal::{Refused, Renewed},
    situation,
    slots::Cause,
};
use crate::{google::FailureKind, health::Pulse, id::IntegrationId};

/// Renewals under way for each request that may run at once: while some wait for the provider, others wait for
/// the disk, and the more of them, the fewer commits they take.
const PER_REQUEST: usize = 4;

/// Renews what is due, until `shutdown`. The pulse beats also while every place is taken by a slow provider.
pub(super) async fn run(broker: Arc<Broker>, mut pulse: Pulse, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(PER_REQUEST * broker.options.concurrency.max(1)));
    loop {
        let due = async {
            // The place first: what cannot start yet stays in the queue.
            let place = places.clone().acquire_owned().await.ok()?;
            Some((place, broker.renewals.next(&broker.clock).await))
        };
        let (place, key) = tokio::select! {
            () = shutdown.cancelled() => return,
            () = pulse.beat() => continue,
            due = due => match due {
                Some(due) => due,
                None => return,
            },
        };
        if broker.send(&key) {
            let broker = broker.clone();
            broker.clone().renew_sent(Sent { broker, key, place });
        }
    }
}

/// A key on its way, until its renewal has ended one way or another.
struct Sent {
    broker: Arc<Broker>,
    key: TokenKey,
    /// Free for the next one at the end.
    #[expect(dead_code, reason = "held, not read")]
    place: OwnedSemaphorePermit,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.broker.arrived(&self.key);
    }
}

/// An account's turn. Whoever has it may use the grant; whoever came due meanwhile is due again at its end.
/// Not to be dropped while the world is held.
pub(super) struct Turn {
    broker: Arc<Broker>,
    integration: IntegrationId,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.held.take());
        self.broker.unpark(&self.integration);
    }
}

impl Broker {
    /// Obtains a new token for a key that was due, or waits for whoever does.
    fn renew_sent(self: Arc<Self>, sent: Sent) {
        let (key, seen) = (sent.key.clone(), self.cached(&sent.key));
        let mut sent = Some(sent);
        let landing = self.flights.board(&key, || {
            let (broker, key, sent) = (self.clone(), key.clone(), sent.take());
            async move {
                let renewed = broker.renew_in_turn(&key, seen).await;
                drop(sent);
                renewed
            }
        });
        if let Some(sent) = sent {
            tokio::spawn(async move {
                landing.arrival().await;
                drop(sent);
            });
        }
    }

    /// Obtains a new token for `key`, together with everybody else who wants it now.
    pub(super) async fn renew(self: &Arc<Self>, key: &TokenKey) -> Renewed {
        let seen = self.cached(key);
        self.renew_past(key, seen).await
    }

    /// Like [`Self::renew`], for somebody to whom any fresh token but `seen` is new.
    pub(super) async fn renew_past(
        self: &Arc<Self>,
        key: &TokenKey,
        seen: Option<Arc<IssuedToken>>,
    ) -> Renewed {
        let work = || {
            let (broker, key) = (self.clone(), key.clone());
            async move { broker.renew_in_turn(&key, seen).await }
        };
        let lost = || Err(lost());
        self.flights.join(key, work).await.unwrap_or_else(lost)
    }

    async fn renew_in_turn(self: Arc<Self>, key: &TokenKey, seen: Option<Arc<IssuedToken>>) -> Renewed {
        let turn = self.turn(&key.integration).await;
        let renewed = match &turn {
            Some(_) => self.renew_or_find(key, seen).await,
            None => Err(Refused::gone()),
        };
        if let Err(refused) = &renewed {
            self.settle(key, || refused.clone());
            self.world().tidy(key);
        }
        renewed
    }

    async fn renew_or_find(&self, key: &TokenKey, seen: Option<Arc<IssuedToken>>) -> Renewed {
        // A flight may have landed between the asker's look and this one's start.
        let is_new = |token: &Arc<IssuedToken>| {
            token.is_fresh(self.uptime()) && seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, token))
        };
        if let Some(token) = self.cached(key).filter(is_new) {
            return Ok(token);
        }
        self.usable(&key.integration)?;
        self.renew_alone(key).await
    }

    /// Nothing is begun with a grant of which it is known that it cannot be used.
    fn usable(&self, id: &IntegrationId) -> Result<(), Refused> {
        let world = self.world();
        let account = world.accounts.get(id).ok_or_else(Refused::gone)?;
        let Some((state, message)) = situation::refused(&self.around, account) else {
            return Ok(());
        };
        let kind = match state {
            AgentState::Misconfigured => FailureKind::Operator,
            _ => FailureKind::Reconnect,
        };
        Err(Refused {
            kind,
            cause: Cause::Other,
            message,
            retry_after: None,
        })
    }

    /// Waits for the account's turn. `None` when the account is gone by then.
    pub(super) async fn turn(self: &Arc<Self>, id: &IntegrationId) -> Option<Turn> {
        let turn = self.world().accounts.get(id)?.turn.clone();
        let held = turn.clone().lock_owned().await;
        let here = self
            .world()
            .accounts
            .get(id)
            .is_some_and(|account| Arc::ptr_eq(&account.turn, &turn));
        here.then(|| Turn {
            broker: self.clone(),
            integration: id.clone(),
            held: Some(held),
        })
    }

    /// Sends a key that is due on its way, unless another of the account has the turn: then it is parked.
    fn send(&self, key: &TokenKey) -> bool {
        let mut world = self.world();
        let Some(account) = world.accounts.get_mut(&key.integration) else {
            return false;
        };
        if account.sent.is_some() || account.turn.try_lock().is_err() {
            account.parked.insert(key.clone());
            return false;
        }
        account.sent = Some(key.clone());
        true
    }

    fn arrived(&self, key: &TokenKey) {
        if let Some(account) = self.world().accounts.get_mut(&key.integration) {
            account.sent = None;
        }
        // Whatever came of it has its place in the queue by now, unless the renewal was lost.
        self.settle(key, lost);
        self.unpark(&key.integration);
    }

    /// What waited for the account's turn is due again, as far as it still is.
    fn unpark(&self, id: &IntegrationId) {
        let mut world = self.world();
        let Some(account) = world.accounts.get_mut(id) else {
            return;
        };
        if account.sent.is_some() {
            // It would only be parked again: the one under way does this on arrival.
            return;
        }
        for key in std::mem::take(&mut account.parked) {
            self.schedule_by_need(&world, &key);
        }
    }
}

fn lost() -> Refused {
    Refused::operator(
        Cause::Other,
        "The renewal was interrupted; see the daemon's log.".to_owned(),
    )
}
