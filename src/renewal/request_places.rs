//! How many requests for access tokens run at once, at each provider: one that hangs takes no other's places.

use std::collections::HashMap;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{id::ProviderId, provider::Providers};

/// The places of each provider.
pub(crate) struct RequestPlaces(HashMap<ProviderId, Semaphore>);

impl RequestPlaces {
    /// So many at each, at least one.
    pub(crate) fn new(providers: &Providers, each: usize) -> Self {
        let places = |id: &ProviderId| (id.clone(), Semaphore::new(each.max(1)));
        Self(providers.iter().map(|provider| places(provider.id())).collect())
    }

    /// Waits for a place; `None` when nobody may ask any more, or there is no such provider.
    pub(crate) async fn take(&self, provider: &ProviderId) -> Option<SemaphorePermit<'_>> {
        self.0.get(provider)?.acquire().await.ok()
    }

    /// Nobody asks any more.
    pub(crate) fn close(&self) {
        self.0.values().for_each(Semaphore::close);
    }
}
