//! That something changed of all that an agent may see, for whoever asks for it anew then.

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use super::{
    refusal::Refusal,
    watch::{End, next_change},
};
use crate::{
    agent_api::{endpoint::Endpoint, holder::Held},
    agent_view::view::View,
    broker::AgentSnapshot,
    id::ProviderId,
};

/// Compares the whole view with what it was. It looks only when it is asked, as [`super::watch::Watch`] does.
pub(crate) struct ViewWatch {
    endpoint: Arc<Endpoint>,
    /// The view that was told of, as a hash.
    told: Option<u64>,
    /// The token of each provider in it, as a hash.
    tokens: HashMap<ProviderId, u64>,
    _held: Held,
}

impl ViewWatch {
    /// A watch whose first change is what is so now.
    ///
    /// # Errors
    /// When as many streams are open as may be.
    pub(crate) fn begin(endpoint: &Arc<Endpoint>) -> Result<Self, Refusal> {
        Ok(Self {
            endpoint: Arc::clone(endpoint),
            told: None,
            tokens: HashMap::new(),
            _held: endpoint.server.holdings.stream(&endpoint.holder)?,
        })
    }

    /// Waits until the view is another one. Nothing is lost when it is not waited for to the end.
    ///
    /// # Errors
    /// When nothing more will change.
    pub(crate) async fn changed(&mut self) -> Result<(), End> {
        let endpoint = Arc::clone(&self.endpoint);
        next_change(&endpoint, |snapshot| self.compare(snapshot)).await
    }

    fn compare(&mut self, snapshot: &AgentSnapshot) -> Option<()> {
        let server = &self.endpoint.server;
        let view = View::new(snapshot, server.moment());
        let hash = view.document_hash(&server.keys);
        if self.told.replace(hash) == Some(hash) {
            return None;
        }
        self.count_uses(&view);
        Some(())
    }

    /// Who is told of a token takes it, which counts as a use.
    fn count_uses(&mut self, view: &View<'_>) {
        let Endpoint { agent, server, .. } = &*self.endpoint;
        for credential in &view.snapshot().credentials {
            let provider = credential.provider();
            let Some(token) = view.token_of(provider) else {
                continue;
            };
            let hash = server.keys.hash_one(token.access_token.expose());
            if self.tokens.insert(provider.clone(), hash) != Some(hash) {
                let _ = server.broker.issuer.current_of(agent, Some(provider));
            }
        }
    }
}
