//! Why an operation on a database failed.

use crate::store::StoreError;

/// Why an operation failed.
pub(crate) enum Fault {
    /// What the store's caller is to hear.
    Store(StoreError),
    /// What the database said, in its library's type.
    Database(Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
