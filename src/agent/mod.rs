//! What agents declare, and how it compares with what was granted.

pub mod manifest;
pub mod resolve;

pub use manifest::{Manifest, Requirement};
pub use resolve::{NarrowError, Narrowed, Resolution, ResolvedCapability, resolve, resolve_for};
