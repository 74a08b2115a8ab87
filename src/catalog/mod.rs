//! Capabilities, and which scopes stand for them.

pub mod scope;

pub use scope::{Scope, ScopeSet};
