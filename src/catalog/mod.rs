//! Capabilities, and which scopes stand for them.

pub mod capability;
pub mod catalogue;
pub mod scope;

pub use capability::{Capability, IntegrationKind, Verification};
pub use catalogue::{Catalog, CatalogError, Coverage, UnknownCapability};
pub use scope::{Scope, ScopeSet};
