//! Capabilities, and which scopes stand for them.

pub mod catalogue;
pub mod definition;
mod error;
pub mod scope;
pub mod verification;

pub use catalogue::{Catalog, Coverage};
pub use definition::Capability;
pub use error::{CatalogError, UnknownCapability};
pub use scope::{Scope, ScopeSet};
pub use verification::Verification;
