//! What the daemon asks the Kubernetes API.

mod api;
mod permit;
mod review;

pub(super) use permit::permit;
pub(super) use review::{Proven, ReviewError, Reviewer};
