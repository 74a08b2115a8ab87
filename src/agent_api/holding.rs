//! What agents and pods hold open: streams, requests over HTTP/2, and requests that wait for a token.

use std::sync::Arc;

use super::{
    holder::{Held, Holder},
    refusal::Refusal,
};
use crate::{
    broker::{AgentHandle, Broker, TokenGrant, TokenRequest},
    budget::{
        Budget, Limits, Refusals,
        table::{REQUESTS, STREAMS, WAITS},
    },
};

/// What one may hold of one kind.
struct Kind {
    places: Budget<Holder>,
    what: &'static str,
    refused: Refusals,
}

impl Kind {
    fn new(limits: Limits, what: &'static str) -> Self {
        let sentence =
            format!("agents or pods hold open as many {what} as they may; further ones were refused");
        Self {
            places: Budget::new(limits),
            what,
            refused: Refusals::new(sentence),
        }
    }

    fn take(&self, who: &Holder) -> Result<Held, Refusal> {
        self.places.take(who).map_err(|_| {
            match who {
                Holder::Agent(name) | Holder::Node(_, name) => self.refused.count(name),
                Holder::Pod(pod) => self.refused.count(&pod.identity),
            }
            Refusal::too_many(format!(
                "There are as many {} open as there may be ({} of one agent or pod): close some, and ask again.",
                self.what,
                self.places.limits().each
            ))
        })
    }
}

/// What there is to hold, for everybody.
pub struct Holdings {
    streams: Kind,
    requests: Kind,
    waits: Kind,
}

impl Holdings {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            streams: Kind::new(STREAMS, "streams"),
            requests: Kind::new(REQUESTS, "requests over HTTP/2"),
            waits: Kind::new(WAITS, "requests that wait for a token"),
        })
    }

    /// A place for a stream.
    pub(crate) fn stream(&self, who: &Holder) -> Result<Held, Refusal> {
        self.streams.take(who)
    }

    /// A place for a request over HTTP/2, until its answer was sent.
    pub(crate) fn request(&self, who: &Holder) -> Result<Held, Refusal> {
        self.requests.take(who)
    }

    /// A token from the broker, unless the agent was removed while it was being fetched. Only what is at hand is given to
    /// whom has as many requests waiting as one may.
    pub(crate) async fn obtain(
        &self,
        broker: &Arc<Broker>,
        agent: &AgentHandle,
        who: &Holder,
        query: &TokenRequest,
    ) -> Result<TokenGrant, Refusal> {
        let current = || broker.issuer.current_of(agent, query.integration.as_ref());
        if let Some(grant) = query.is_plain().then(current).flatten() {
            return Ok(grant);
        }
        let _waiting = self.waits.take(who)?;
        let answer = broker.issuer.token(agent, query).await;
        if agent.is_removed() {
            return Err(Refusal::removed());
        }
        Ok(answer?)
    }
}
