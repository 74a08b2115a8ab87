//! Accounts of a database that was restored, or put back by hand: what it says of them may be over.
//!
//! Each is held, so that no agent has a token of it, until the provider has given one for its grant. All of them are tried by
//! themselves, one after another; what agents use comes by the queue of renewals, the rest by a queue of its own.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    budget::table::RESTORED_ACCOUNTS,
    id::IntegrationId,
    policy::context::{PolicyContext, refused},
    registry::{
        keys::TokenKey,
        state::{Account, Registry, SharedRegistry},
        time::BrokerClock,
    },
    renewal::{
        outcome::Renewed, parts::Renewing, queue::Queue, scheduler::Renewals, services::Services,
        single_flight::SingleFlight,
    },
};

/// When an account is looked at again that is still held, at the earliest.
const PAUSE: Duration = Duration::from_secs(60);

/// Checks the accounts of a restored database with the provider, one after another.
pub struct RestoredAccounts {
    checks: Arc<Queue>,
    clock: Arc<BrokerClock>,
    /// How many requests for access tokens run at once.
    concurrency: usize,
    context: Arc<PolicyContext>,
    single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    registry: Arc<SharedRegistry>,
    renewals: Arc<Renewals>,
}

impl RestoredAccounts {
    /// With what it needs of the parts before it.
    pub(crate) fn new(services: &Services, renewing: &Renewing) -> Arc<Self> {
        Arc::new(Self {
            checks: Arc::default(),
            clock: services.clock.clone(),
            context: services.context.clone(),
            registry: services.registry.clone(),
            renewals: renewing.renewals.clone(),
            single_flight: services.single_flight.clone(),
            concurrency: services.options.concurrency.max(1),
        })
    }

    /// Holds `accounts`, and gives each its moment.
    pub(crate) fn hold_unchecked(&self, registry: &mut Registry, accounts: &[IntegrationId]) {
        let mut at = self.clock.uptime();
        for id in accounts {
            let Some(account) = registry.accounts.get_mut(id) else {
                continue;
            };
            account.check_at = Some(at);
            let key = TokenKey {
                integration: id.clone(),
                scopes: account.record.scopes.clone(),
            };
            self.checks.schedule(&key, at);
            at = at.after(RESTORED_ACCOUNTS.every);
        }
    }

    /// How many accounts are held.
    pub fn unchecked_accounts(&self) -> usize {
        let registry = self.registry.lock();
        let held = registry.accounts.values().filter(|account| self.is_held(account));
        held.count()
    }

    /// False also for what cannot be used for another reason, which its state tells.
    fn is_held(&self, account: &Account) -> bool {
        account.check_at.is_some() && refused(&self.context, account).is_none()
    }

    /// Tries an account that is held, unless agents use it; then its renewal is scheduled.
    async fn check_held(self: Arc<Self>, key: TokenKey) {
        if self.held(&key).is_some_and(|is_used| !is_used) {
            // What comes of it is in the account's view.
            let _ = self.renewals.renew(&key).await;
        }
        if self.held(&key).is_none() {
            return;
        }
        let registry = self.registry.lock();
        let last_failure = registry
            .tokens
            .get(&key)
            .and_then(|token_entry| token_entry.last_failure.as_deref());
        let now = self.clock.uptime();
        let at = last_failure
            .map_or(now, |last_failure| last_failure.retry_at)
            .max(now.after(PAUSE));
        drop(registry);
        self.checks.schedule(&key, at);
    }

    /// Whether agents use the account; `None` where it is not held any more.
    fn held(&self, key: &TokenKey) -> Option<bool> {
        let registry = self.registry.lock();
        let account = registry.accounts.get(&key.integration)?;
        let is_used = registry
            .entries_of(&key.integration)
            .any(|(_, token_entry)| !token_entry.users.is_empty());
        self.is_held(account).then_some(is_used)
    }

    /// Tries what is held and nobody uses, until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        // Half of the requests that may run at once are left to those who wait for a token.
        let places = Arc::new(Semaphore::new((self.concurrency / 2).max(1)));
        loop {
            let due = async {
                let place = places.clone().acquire_owned().await.ok()?;
                Some((place, self.checks.next(&self.clock).await))
            };
            let (place, key) = tokio::select! {
                () = shutdown.cancelled() => return,
                due = due => match due {
                    Some(due) => due,
                    None => return,
                },
            };
            let checking = self.clone().check_held(key);
            self.single_flight.spawn(async move {
                checking.await;
                drop(place);
            });
        }
    }
}
