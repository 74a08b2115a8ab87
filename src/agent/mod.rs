//! What agents declare, and how it compares with what was granted.

pub mod manifest;
pub mod resolve;
mod yaml;

pub use manifest::{Manifest, ManifestError, Requirement};
pub use resolve::{NarrowError, Narrowed, Resolution, ResolvedCapability, resolve, resolve_for};
