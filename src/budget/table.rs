//! The numbers of all budgets, in one place.

use std::time::Duration;

use super::Rate;

/// How often an agent may ask for another token in place of a refused one.
pub const AGENT_REFRESHES: Rate = Rate {
    at_once: 3,
    every: Duration::from_secs(30),
};
