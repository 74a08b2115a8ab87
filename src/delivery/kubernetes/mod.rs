//! What the daemon asks the Kubernetes API.

mod api;
mod review;

pub(super) use review::{Proven, ReviewError, Reviewer};
