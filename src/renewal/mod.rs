//! Keeps tokens fresh: what is due when, one renewal at a time for each account, pauses after failures.

pub(crate) mod assertions;
pub(crate) mod backoff;
pub(crate) mod clock_jump;
pub(crate) mod failures;
pub(crate) mod grant_ends;
pub(crate) mod lanes;
pub(crate) mod once_more;
pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod parts;
pub(crate) mod proven;
pub(crate) mod publisher;
pub(crate) mod queue;
pub(crate) mod recovery;
pub(crate) mod renewer;
pub(crate) mod request_places;
pub(crate) mod rotation;
pub(crate) mod schedule;
pub(crate) mod scheduler;
pub(crate) mod secrets;
pub(crate) mod services;
pub(crate) mod single_flight;
pub(crate) mod successors;
pub(crate) mod turns;
pub(crate) mod unkept;
