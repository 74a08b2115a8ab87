//! What accounts and agents need of renewing.

use std::sync::Arc;

use crate::renewal::{
    assertions::Assertions, publisher::Publisher, recovery::Recovery, scheduler::Renewals, turns::Turns,
};

/// What renews and publishes.
pub(crate) struct Renewing {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) recovery: Arc<Recovery>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) assertions: Arc<Assertions>,
    pub(crate) renewals: Arc<Renewals>,
}
