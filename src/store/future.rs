//! What a store's methods return.

use std::pin::Pin;

use crate::store::error::StoreError;

/// What a store's method returns.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;
