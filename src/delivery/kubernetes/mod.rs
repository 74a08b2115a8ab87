//! What the daemon asks the Kubernetes API.

mod api;
mod permit;
mod review;
mod taint;

pub(super) use permit::permit;
pub(super) use review::{Proven, ReviewError, Reviewer};
pub use taint::StartupTaint;
