//! What changes for an agent, for whoever watches its socket.

use std::{hash::BuildHasher, sync::Arc};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{answer_cache::Form, refusal::Refusal};
use crate::{
    agent_api::{endpoint::Endpoint, holder::Held},
    agent_view::view::View,
    broker::{AgentSnapshot, CredentialView, IssuedToken, TokenGrant},
    clock::Moment,
    id::ProviderId,
};

/// One change.
pub(crate) enum Change {
    /// A token that was not told before.
    Token(TokenGrant),
    /// Another status than was told before.
    Status(Arc<AgentSnapshot>),
}

/// Why nothing more will change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The agent is gone.
    Removed,
    /// The daemon is going down.
    Stopping,
}

/// Waits until `compare` finds a change in what is so now.
///
/// # Errors
/// When nothing more will change.
pub(super) async fn next_change<C>(
    endpoint: &Endpoint,
    mut compare: impl FnMut(&Arc<AgentSnapshot>) -> Option<C>,
) -> Result<C, End> {
    let Endpoint { agent, stop, .. } = endpoint;
    loop {
        if agent.is_removed() {
            return Err(End::Removed);
        }
        if stop.is_cancelled() {
            return Err(End::Stopping);
        }
        let snapshot = agent.snapshot();
        if let Some(change) = compare(&snapshot) {
            return Ok(change);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = agent.next_snapshot(&snapshot) => {}
        }
    }
}

/// Compares what is so now with what was told. It looks only when it is asked, so a slow watcher skips what
/// was replaced meanwhile and costs no memory.
pub(crate) struct Watch {
    endpoint: Arc<Endpoint>,
    /// Whose token it tells.
    provider: Option<ProviderId>,
    /// The token that was told, as a hash.
    token: Option<u64>,
    /// The status that was told, as a hash.
    status: Option<u64>,
    begun: bool,
    _held: Held,
}

impl Watch {
    /// A watch that begins with what is so now. It tells this provider's token; `None` for the main one.
    ///
    /// # Errors
    /// When no token of that provider will ever come, because the agent declares nothing of it; and when as many streams are
    /// open as may be.
    pub(crate) fn begin(endpoint: &Arc<Endpoint>, provider: Option<ProviderId>) -> Result<Self, Refusal> {
        let agent = &endpoint.agent;
        let undeclared = |provider: &&ProviderId| agent.peek().credential(provider).is_none();
        if let Some(provider) = provider.as_ref().filter(undeclared) {
            let issuer = &endpoint.server.broker.issuer;
            return Err(issuer.not_declared(agent.name(), provider).into());
        }
        Ok(Self {
            endpoint: Arc::clone(endpoint),
            provider,
            token: None,
            status: None,
            begun: false,
            _held: endpoint.server.holdings.stream(&endpoint.holder)?,
        })
    }

    /// The broker's present moment.
    pub(crate) fn now(&self) -> Moment {
        self.endpoint.server.moment()
    }

    /// A token as it is told, in memory that the agent's streams share, and that is wiped.
    pub(crate) fn tell(
        &self,
        form: Form,
        grant: &TokenGrant,
        render: impl FnOnce(Moment) -> Zeroizing<Vec<u8>>,
    ) -> Bytes {
        let now = self.now();
        self.endpoint.answers.get(form, grant, now.uptime, || render(now))
    }

    /// Waits for the next change. Nothing is lost when it is not waited for to the end.
    ///
    /// # Errors
    /// When nothing more will change.
    pub(crate) async fn next(&mut self) -> Result<Change, End> {
        let endpoint = Arc::clone(&self.endpoint);
        next_change(&endpoint, |snapshot| self.compare(snapshot)).await
    }

    fn compare(&mut self, snapshot: &Arc<AgentSnapshot>) -> Option<Change> {
        let server = &self.endpoint.server;
        let keys = &server.keys;
        let view = View::new(snapshot, server.moment());
        let status = view.status_hash(keys);
        let asked = match &self.provider {
            Some(provider) => snapshot.credential(provider),
            None => Some(snapshot.main()),
        };
        let shown = asked.and_then(|asked| Some((asked, view.token_of(asked.provider())?)));
        let token = shown.map(|(asked, token)| {
            keys.hash_one((token.access_token.expose(), token.expires_at, &asked.granted))
        });
        if !std::mem::replace(&mut self.begun, true) && view.is_well() {
            // The token says it all.
            self.status = Some(status);
        }
        let told = std::mem::replace(&mut self.token, token);
        if let Some((asked, issued)) = shown
            && told != token
        {
            return Some(Change::Token(self.grant(asked, issued)));
        }
        let told = self.status.replace(status);
        (told != Some(status)).then(|| Change::Status(Arc::clone(snapshot)))
    }

    /// The token as the broker hands it out, which counts as a use.
    fn grant(&self, asked: &CredentialView, token: &Arc<IssuedToken>) -> TokenGrant {
        let Endpoint { agent, server, .. } = &*self.endpoint;
        let current = server.broker.issuer.current_of(agent, Some(asked.provider()));
        current
            .filter(|grant| Arc::ptr_eq(&grant.token, token))
            .unwrap_or_else(|| TokenGrant {
                token: Arc::clone(token),
                capabilities: Arc::clone(&asked.granted),
            })
    }
}
