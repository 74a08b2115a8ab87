//! Accounts of a database that was restored, or put back by hand: what it says of them may be over.
//!
//! Each is held, so that no agent has a token of it, until the provider has given one for its grant. All of them are tried by
//! themselves, one after another; what agents use comes by the queue of renewals, the rest by a queue of its own.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    Broker, TokenKey,
    situation::refused,
    world::{Account, World},
};
use crate::{budget::table::RESTORED_ACCOUNTS, id::IntegrationId};

/// When an account is looked at again that is still held, at the earliest.
const PAUSE: Duration = Duration::from_secs(60);

/// What is said of an account that is held and was not refused.
pub(super) fn sentence(account: &Account) -> String {
    format!(
        "The database was restored from a backup, so {} is checked with Google before it is used again.",
        account.record.account
    )
}

impl Broker {
    /// Holds `accounts`, and gives each its moment.
    pub(super) fn hold_unchecked(&self, world: &mut World, accounts: &[IntegrationId]) {
        let mut at = self.uptime();
        for id in accounts {
            let Some(account) = world.accounts.get_mut(id) else {
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
        let world = self.world();
        let held = world.accounts.values().filter(|account| self.is_held(account));
        held.count()
    }

    /// False also for what cannot be used for another reason, which its state tells.
    fn is_held(&self, account: &Account) -> bool {
        account.check_at.is_some() && refused(&self.around, account).is_none()
    }

    /// Tries an account that is held, unless agents use it; then its renewal is scheduled.
    async fn check_held(self: Arc<Self>, key: TokenKey) {
        if self.held(&key).is_some_and(|is_used| !is_used) {
            // What comes of it is in the account's view.
            let _ = self.renew(&key).await;
        }
        if self.held(&key).is_none() {
            return;
        }
        let world = self.world();
        let trouble = world.slots.get(&key).and_then(|slot| slot.trouble.as_deref());
        let now = self.uptime();
        let at = trouble
            .map_or(now, |trouble| trouble.retry_at)
            .max(now.after(PAUSE));
        drop(world);
        self.checks.schedule(&key, at);
    }

    /// Whether agents use the account; `None` where it is not held any more.
    fn held(&self, key: &TokenKey) -> Option<bool> {
        let world = self.world();
        let account = world.accounts.get(&key.integration)?;
        let is_used = world
            .slots_of(&key.integration)
            .any(|(_, slot)| !slot.users.is_empty());
        self.is_held(account).then_some(is_used)
    }
}

/// Tries what is held and nobody uses, until `shutdown`.
pub(super) async fn run(broker: Arc<Broker>, shutdown: CancellationToken) {
    // Half of the requests that may run at once are left to those who wait for a token.
    let places = Arc::new(Semaphore::new((broker.options.concurrency / 2).max(1)));
    loop {
        let due = async {
            let place = places.clone().acquire_owned().await.ok()?;
            Some((place, broker.checks.next(&broker.clock).await))
        };
        let (place, key) = tokio::select! {
            () = shutdown.cancelled() => return,
            due = due => match due {
                Some(due) => due,
                None => return,
            },
        };
        let checking = broker.clone().check_held(key);
        broker.flights.spawn(async move {
            checking.await;
            drop(place);
        });
    }
}
