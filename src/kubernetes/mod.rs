//! What the daemon asks the Kubernetes API.

mod access;
mod api;
pub mod csi;
mod permit;
mod review;
mod taint;

pub use access::{Deed, may};
pub(crate) use permit::permit;
pub(crate) use review::{Proven, ReviewError, Reviewer};
pub use taint::StartupTaint;
