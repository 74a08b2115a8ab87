//! How often people may have the provider asked: each owner for what is theirs, so that nobody's requests make the provider
//! refuse those of the others.

use std::time::Duration;

use crate::{
    budget::{
        Rates,
        table::{ACCOUNT_CHECKS, OWNER_REQUESTS},
    },
    clock::Uptime,
    id::{IntegrationId, OwnerId},
};

/// Owners, and accounts, whose pace is known at a time.
const MOST_KNOWN: usize = 10_000;

/// Who wants an account to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// Its owner.
    Owner,
    /// The operator, who need not wait for the owner's turn.
    Operator,
}

/// The paces.
pub(crate) struct Asks {
    owners: Rates<OwnerId>,
    checks: Rates<(IntegrationId, Asker)>,
}

impl Default for Asks {
    fn default() -> Self {
        Self {
            owners: Rates::new(OWNER_REQUESTS, MOST_KNOWN),
            checks: Rates::new(ACCOUNT_CHECKS, MOST_KNOWN),
        }
    }
}

impl Asks {
    /// Counts a request of this owner's at `uptime`.
    ///
    /// # Errors
    /// How long to wait, where that is one too many.
    pub(crate) fn count(&self, owner: &OwnerId, uptime: Uptime) -> Result<(), Duration> {
        self.owners.count(owner, uptime)
    }

    /// Counts a check of this account at `uptime`.
    ///
    /// # Errors
    /// How long to wait, where that is one too many.
    pub(crate) fn count_check(
        &self,
        account: (&IntegrationId, &OwnerId),
        asker: Asker,
        uptime: Uptime,
    ) -> Result<(), Duration> {
        let (id, owner) = account;
        self.checks.count(&(id.clone(), asker), uptime)?;
        match asker {
            Asker::Owner => self.count(owner, uptime),
            Asker::Operator => Ok(()),
        }
    }
}
