//! What agents declare, and how it compares with what was granted.

pub mod manifest;

pub use manifest::{Manifest, Requirement};
