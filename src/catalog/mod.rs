//! Capabilities, and which scopes stand for them.

pub mod capability;
pub mod catalogue;
pub mod scope;
pub mod verification;

pub use capability::Capability;
pub use catalogue::{Catalog, CatalogError, Coverage, UnknownCapability};
pub use scope::{Scope, ScopeSet};
pub use verification::Verification;
