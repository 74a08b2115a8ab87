//! What becomes of a grant that a provider gives for one that was given up meanwhile.

use std::{pin::Pin, sync::Arc};

use crate::{id::IntegrationId, secret::RefreshToken};

/// Sees to the end of grants whose predecessors are to be revoked. A renewal that was under way may bring one.
pub(crate) trait Successors: Send + Sync {
    /// The provider replaced a grant at the moment that it was given up: what is to be revoked is its successor.
    fn owe_successor<'a>(
        &'a self,
        id: &'a IntegrationId,
        successor: &'a RefreshToken,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// The same, shared.
pub(crate) type SharedSuccessors = Arc<dyn Successors>;
