//! What the daemon asks the Kubernetes API.

mod api;
mod review;
mod taint;

pub(super) use review::{Proven, ReviewError, Reviewer};
pub use taint::StartupTaint;
