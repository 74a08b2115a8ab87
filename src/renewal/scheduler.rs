//! Renews what is due and what is asked for.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::{
    health::Pulse,
    id::IntegrationId,
    policy::context::{PolicyContext, refused},
    provider::Remedy,
    registry::{
        agent_state::AgentState, keys::TokenKey, renewal_fault::RenewalFault, snapshot::IssuedToken,
        state::SharedRegistry, time::BrokerClock, tokens::Cause,
    },
    renewal::{
        lanes::Lanes,
        outcome::{Refused, Renewed},
        publisher::Publisher,
        recovery::Recovery,
        renewer::Renewer,
        schedule::Schedule,
        services::Services,
        single_flight::SingleFlight,
        turns::{Turns, lost},
    },
};

/// Renewals under way for each request that may run at once: while some wait for the provider, others wait for
/// the disk, and the more of them, the fewer commits they take.
const PER_REQUEST: usize = 4;

/// A key on its way, until its renewal has ended one way or another.
struct InFlight {
    renewals: Arc<Renewals>,
    key: TokenKey,
    /// Free for the next one at the end.
    place: Option<OwnedSemaphorePermit>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.renewals.turns.arrived(&self.key);
        drop(self.place.take());
        self.renewals.freed.notify_one();
    }
}

/// Renews tokens: each once, whoever asks, and each account one at a time.
pub(crate) struct Renewals {
    pub(crate) clock: Arc<BrokerClock>,
    /// How many requests for access tokens run at once at each provider.
    pub(crate) concurrency: usize,
    pub(crate) context: Arc<PolicyContext>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    pub(crate) registry: Arc<SharedRegistry>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) recovery: Arc<Recovery>,
    pub(crate) renewer: Arc<Renewer>,
    pub(crate) turns: Arc<Turns>,
    /// A place among the renewals that run at once was given back.
    freed: Notify,
}

impl Renewals {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        services: &Services,
        publisher: &Arc<Publisher>,
        recovery: &Arc<Recovery>,
        renewer: &Arc<Renewer>,
        turns: &Arc<Turns>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock: services.clock.clone(),
            context: services.context.clone(),
            single_flight: services.single_flight.clone(),
            registry: services.registry.clone(),
            publisher: publisher.clone(),
            recovery: recovery.clone(),
            renewer: renewer.clone(),
            turns: turns.clone(),
            schedule: services.schedule.clone(),
            concurrency: services.options.concurrency.max(1),
            freed: Notify::new(),
        })
    }

    /// Renews what is due, until `shutdown`. Each provider has places of its own, and the pulse beats also while a slow one has
    /// taken all of its.
    pub(crate) async fn run(self: Arc<Self>, mut pulse: Pulse, shutdown: CancellationToken) {
        let mut lanes = Lanes::new(PER_REQUEST * self.concurrency);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = pulse.beat() => continue,
                () = self.freed.notified() => {}
                key = self.schedule.next(&self.clock) => self.line_up(&mut lanes, key),
            }
            while let Some((place, key)) = lanes.next(|key| self.schedule.is_held(key)) {
                if self.turns.send(&key) {
                    let in_flight = InFlight {
                        renewals: self.clone(),
                        key,
                        place: Some(place),
                    };
                    self.clone().renew_in_flight(in_flight);
                }
            }
        }
    }

    /// Puts a token that is due into the lane of its account's provider.
    fn line_up(&self, lanes: &mut Lanes, key: TokenKey) {
        let provider = {
            let registry = self.registry.lock();
            let account = registry.accounts.get(&key.integration);
            account.map(|account| account.record.provider.clone())
        };
        match provider {
            Some(provider) => lanes.add(provider, key),
            None => self.schedule.cancel(&key),
        }
    }

    /// Obtains a new token for a key that was due, or waits for whoever does.
    fn renew_in_flight(self: Arc<Self>, in_flight: InFlight) {
        let (key, seen) = (in_flight.key.clone(), self.publisher.cached(&in_flight.key));
        let mut in_flight = Some(in_flight);
        let waiter = self.single_flight.start(&key, || {
            let (this, key, in_flight) = (self.clone(), key.clone(), in_flight.take());
            async move {
                let renewed = this.renew_in_turn(&key, seen).await;
                drop(in_flight);
                renewed
            }
        });
        if let Some(in_flight) = in_flight {
            tokio::spawn(async move {
                waiter.wait().await;
                drop(in_flight);
            });
        }
    }

    /// Obtains a new token for `key`, together with everybody else who wants it now.
    pub(crate) async fn renew(self: &Arc<Self>, key: &TokenKey) -> Renewed {
        let seen = self.publisher.cached(key);
        self.renew_past(key, seen).await
    }

    /// Like [`Self::renew`], for somebody to whom any fresh token but `seen` is new.
    pub(crate) async fn renew_past(
        self: &Arc<Self>,
        key: &TokenKey,
        seen: Option<Arc<IssuedToken>>,
    ) -> Renewed {
        let work = || {
            let (this, key) = (self.clone(), key.clone());
            async move { this.renew_in_turn(&key, seen).await }
        };
        let lost = || Err(lost());
        self.single_flight.join(key, work).await.unwrap_or_else(lost)
    }

    async fn renew_in_turn(self: Arc<Self>, key: &TokenKey, seen: Option<Arc<IssuedToken>>) -> Renewed {
        let turn = self.turns.turn(&key.integration).await;
        let renewed = match &turn {
            Some(_) => self.renew_or_find(key, seen).await,
            None => Err(Refused::gone()),
        };
        if let Err(refused) = &renewed {
            self.recovery.settle(key, || refused.clone());
            self.registry.lock().tidy(key);
        }
        renewed
    }

    async fn renew_or_find(&self, key: &TokenKey, seen: Option<Arc<IssuedToken>>) -> Renewed {
        // Another renewal may have come to its end between the asker's look and this one's start.
        let is_new = |token: &Arc<IssuedToken>| {
            token.is_fresh(self.clock.uptime()) && seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, token))
        };
        if let Some(token) = self.publisher.cached(key).filter(is_new) {
            return Ok(token);
        }
        self.usable(&key.integration)?;
        self.renewer.renew_alone(key).await
    }

    /// Nothing is begun with a grant of which it is known that it cannot be used.
    fn usable(&self, id: &IntegrationId) -> Result<(), Refused> {
        let registry = self.registry.lock();
        let account = registry.accounts.get(id).ok_or_else(Refused::gone)?;
        let Some((state, fault)) = refused(&self.context, account) else {
            return Ok(());
        };
        let kind = match state {
            AgentState::Misconfigured => Remedy::Operator,
            _ => Remedy::Reconnect,
        };
        Err(Refused {
            kind,
            cause: Cause::Other,
            fault: RenewalFault::Account(fault),
            retry_after: None,
        })
    }
}
