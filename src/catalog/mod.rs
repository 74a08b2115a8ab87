//! Capabilities, and which scopes stand for them.

pub mod capability;
pub mod catalogue;
mod error;
pub mod scope;
pub mod verification;

pub use capability::Capability;
pub use catalogue::{Catalog, Coverage, UnknownCapability};
pub use error::CatalogError;
pub use scope::{Scope, ScopeSet};
pub use verification::Verification;
