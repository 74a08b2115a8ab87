//! Accounts at the provider, each of which is dealt with by one at a time.
//!
//! Revoking a grant ends every grant of the same account in the provider's project. So a grant is not kept while an
//! older one of the same account is being revoked, however long the provider takes; nobody else waits for that.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::OwnedMutexGuard;

use crate::clock::Uptime;

/// So many locks that nobody holds any more are left lying about at most.
const MOST_LEFT: usize = 64;

/// How long it is known that an account was revoked: longer than a grant takes from its making to its keeping.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// One lock for each account that somebody deals with, by the provider's id of it.
#[derive(Default)]
pub(crate) struct ProviderAccounts {
    locks: Mutex<HashMap<Box<str>, Weak<tokio::sync::Mutex<()>>>>,
    /// When the provider answered a revocation of it last, or was given up on.
    revoked: Mutex<HashMap<Box<str>, Uptime>>,
}

impl ProviderAccounts {
    /// Waits until nobody else deals with the account `subject`.
    pub(crate) async fn lock(&self, subject: &str) -> OwnedMutexGuard<()> {
        self.of(subject).lock_owned().await
    }

    /// The provider was asked to revoke the account, and may have done so until now.
    pub(crate) fn note_revocation(&self, subject: &str, now: Uptime) {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.retain(|_, at| now.since(*at) < REMEMBERED);
        revoked.insert(subject.into(), now);
    }

    /// Whether a grant of the account that was asked for at `since` may have been revoked with an older one.
    pub(crate) fn may_be_revoked(&self, subject: &str, since: Uptime) -> bool {
        let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.get(subject).is_some_and(|at| *at >= since)
    }

    fn of(&self, subject: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(subject).and_then(Weak::upgrade) {
            return lock;
        }
        if locks.len() >= MOST_LEFT {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::default();
        locks.insert(subject.into(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_deals_with_one_account_holds_up_no_other() {
        let accounts = ProviderAccounts::default();
        let alices = accounts.lock("1001").await;
        assert!(accounts.lock("1001").now_or_never().is_none());
        assert!(accounts.lock("1002").now_or_never().is_some());
        drop(alices);
        assert!(accounts.lock("1001").now_or_never().is_some());
        for subject in 0..1000 {
            drop(accounts.lock(&subject.to_string()).await);
        }
        assert!(accounts.locks.lock().unwrap().len() <= MOST_LEFT);
    }
}
