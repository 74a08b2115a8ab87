//! Keeps tokens fresh: what is due when, one renewal at a time for each account, pauses after failures.

pub(super) mod assertions;
pub(crate) mod backoff;
pub(super) mod clock_jump;
pub(super) mod failures;
pub(super) mod once_more;
pub(super) mod outcome;
pub(super) mod parts;
pub(super) mod queue;
pub(super) mod recovery;
pub(super) mod renewer;
pub(in crate::broker) mod request_places;
pub(super) mod rotation;
pub(super) mod scheduler;
pub(super) mod secrets;
pub(super) mod single_flight;
pub(super) mod turns;
pub(super) mod unkept;
