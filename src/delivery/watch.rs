//! What changes for an agent, for whoever watches its socket.

use std::{hash::BuildHasher, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    render::View,
    server::{Endpoint, Server},
};
use crate::{
    broker::{AgentHandle, AgentSnapshot, Feed, IssuedToken, TokenGrant},
    catalog::IntegrationKind,
    clock::Moment,
};

/// One change.
pub(super) enum Change {
    /// A token that was not told before.
    Token(TokenGrant),
    /// Another situation than was told before.
    Status(Arc<AgentSnapshot>),
    /// The agent is gone.
    Removed,
    /// The daemon is going down.
    Stopping,
}

/// Compares what is so now with what was told. It looks only when it is asked, so a slow watcher skips what
/// was replaced meanwhile and costs no memory.
pub(super) struct Watch {
    agent: Arc<AgentHandle>,
    server: Arc<Server>,
    stop: CancellationToken,
    /// Whose token it tells.
    kind: Option<IntegrationKind>,
    /// The token that was told, as a hash.
    token: Option<u64>,
    /// The situation that was told, as a hash.
    situation: Option<u64>,
    begun: bool,
}

impl Watch {
    /// A watch that begins with what is so now. It tells the token of this kind of account; `None` for the main one.
    pub(super) fn new(endpoint: &Endpoint, kind: Option<IntegrationKind>) -> Self {
        Self {
            kind,
            agent: Arc::clone(&endpoint.agent),
            server: Arc::clone(&endpoint.server),
            stop: endpoint.stop.clone(),
            token: None,
            situation: None,
            begun: false,
        }
    }

    /// The broker's present moment.
    pub(super) fn now(&self) -> Moment {
        self.server.moment()
    }

    /// Waits for the next change. Nothing is lost when it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Change {
        loop {
            if self.agent.is_removed() {
                return Change::Removed;
            }
            if self.stop.is_cancelled() {
                return Change::Stopping;
            }
            let snapshot = self.agent.snapshot();
            if let Some(change) = self.compare(&snapshot) {
                return change;
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                _ = self.agent.next_snapshot(&snapshot) => {}
            }
        }
    }

    fn compare(&mut self, snapshot: &Arc<AgentSnapshot>) -> Option<Change> {
        let keys = &self.server.keys;
        let view = View::new(snapshot, self.server.moment());
        let situation = view.situation(keys);
        let feed = self.kind.map_or(Some(&snapshot.main), |kind| snapshot.feed(kind));
        let shown = feed.and_then(|feed| Some((feed, view.token_of(feed.kind)?)));
        let token = shown.map(|(feed, token)| {
            keys.hash_one((token.access_token.expose(), token.expires_at, &feed.granted))
        });
        if !std::mem::replace(&mut self.begun, true) && view.is_well() {
            // The token says it all.
            self.situation = Some(situation);
        }
        let told = std::mem::replace(&mut self.token, token);
        if let Some((feed, issued)) = shown
            && told != token
        {
            return Some(Change::Token(self.grant(feed, issued)));
        }
        let told = self.situation.replace(situation);
        (told != Some(situation)).then(|| Change::Status(Arc::clone(snapshot)))
    }

    /// The token as the broker hands it out, which counts as a use.
    fn grant(&self, feed: &Feed, token: &Arc<IssuedToken>) -> TokenGrant {
        let current = self.server.broker.current_of(&self.agent, Some(feed.kind));
        current
            .filter(|grant| Arc::ptr_eq(&grant.token, token))
            .unwrap_or_else(|| TokenGrant {
                token: Arc::clone(token),
                capabilities: Arc::clone(&feed.granted),
            })
    }
}
