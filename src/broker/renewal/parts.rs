//! What accounts and agents need of renewing.

use std::sync::Arc;

use super::{assertions::Assertions, recovery::Recovery, scheduler::Renewals, turns::Turns};
use crate::broker::{accounts::revocations::Revocations, publisher::Publisher};

/// What renews, revokes and publishes.
pub(in crate::broker) struct Renewing {
    pub(in crate::broker) publisher: Arc<Publisher>,
    pub(in crate::broker) recovery: Arc<Recovery>,
    pub(in crate::broker) turns: Arc<Turns>,
    pub(in crate::broker) assertions: Arc<Assertions>,
    pub(in crate::broker) revocations: Arc<Revocations>,
    pub(in crate::broker) renewals: Arc<Renewals>,
}
