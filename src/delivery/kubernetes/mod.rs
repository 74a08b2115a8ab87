//! What the daemon asks the Kubernetes API.

mod api;
mod review;
mod taint;

pub use review::try_review;
pub(super) use review::{Proven, ReviewError, Reviewer};
pub use taint::StartupTaint;
