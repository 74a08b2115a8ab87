//! Accounts at the provider, each of which is dealt with by one at a time.
//!
//! Revoking a grant ends every grant of the same account in the provider's project. So a grant is not kept while an
//! older one of the same account is being revoked, however long the provider takes; nobody else waits for that.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::OwnedMutexGuard;

/// So many locks that nobody holds any more are left lying about at most.
const MOST_LEFT: usize = 64;

/// One lock for each account that somebody deals with, by the provider's id of it.
#[derive(Default)]
pub(super) struct ProviderAccounts(Mutex<HashMap<Box<str>, Weak<tokio::sync::Mutex<()>>>>);

impl ProviderAccounts {
    /// Waits until nobody else deals with the account `subject`.
    pub(super) async fn lock(&self, subject: &str) -> OwnedMutexGuard<()> {
        self.of(subject).lock_owned().await
    }

    fn of(&self, subject: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        assert!(accounts.0.lock().unwrap().len() <= MOST_LEFT);
    }
}
