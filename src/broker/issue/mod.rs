//! Hands out tokens to agents that ask for one.

pub(super) mod entitled;
pub(super) mod issuer;
pub(super) mod limits;
pub(super) mod narrowed;
pub(super) mod refresh;
pub(super) mod request;
