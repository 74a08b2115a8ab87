//! What the daemon asks the Kubernetes API.

mod access;
mod api;
mod permit;
mod review;
mod taint;

pub use access::{Deed, may};
pub(super) use permit::permit;
pub(super) use review::{Proven, ReviewError, Reviewer};
pub use taint::StartupTaint;
