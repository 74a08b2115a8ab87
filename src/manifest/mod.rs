//! What agents declare, and how it compares with what was granted.

pub mod document;
pub mod folder;
#[cfg(fuzzing)]
pub mod fuzz;
mod holder;
pub(crate) mod listing;
pub mod resolve;
pub mod watch;
mod yaml;

pub use document::{MAX_BYTES, Manifest, ManifestError, PodIdentity, Requirement};
pub use folder::{Folder, ManifestFile, ManifestProblem, Scan};
pub use holder::Holder;
pub use resolve::{NarrowError, Narrowed, Resolution, ResolvedCapability, resolve};
pub use watch::watch;
