//! What an agent is told, as protobuf carries it.

use zeroize::Zeroizing;

use super::framing::framed;
use crate::{
    agent_view::{
        message::{agent_state, capability_state},
        view::{self, View},
    },
    broker::{AgentSnapshot, TokenGrant},
    clock::Moment,
    proto::{
        self,
        v1::{
            self, GetAccessTokenResponse, GetStatusResponse, WatchAccessTokenResponse,
            watch_access_token_response::Event,
        },
    },
    provider::AccountField,
};

/// A token as a message of a stream, and as an answer: both have it in their field 1.
pub(super) fn token(grant: &TokenGrant, now: Moment) -> Zeroizing<Vec<u8>> {
    framed(&GetAccessTokenResponse {
        token: Some(access_token(grant, now)),
    })
}

/// An agent's snapshot as an answer.
pub(super) fn status(snapshot: &AgentSnapshot, now: Moment) -> Zeroizing<Vec<u8>> {
    let status = Some(agent_status(snapshot, now));
    framed(&GetStatusResponse { status })
}

/// An agent's snapshot as a message of a stream.
pub(super) fn status_event(snapshot: &AgentSnapshot, now: Moment) -> Zeroizing<Vec<u8>> {
    let event = Some(Event::Status(agent_status(snapshot, now)));
    framed(&WatchAccessTokenResponse { event })
}

fn access_token(grant: &TokenGrant, now: Moment) -> v1::AccessToken {
    let token = &grant.token;
    let left = token.remaining(now.uptime).unwrap_or_default();
    v1::AccessToken {
        access_token: token.access_token.expose().to_owned(),
        token_type: "Bearer".to_owned(),
        expires_at: Some(proto::timestamp(now.wall_at(token.expires_at))),
        expires_in: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        scope: token.scopes.to_string(),
        capabilities: grant
            .capabilities
            .iter()
            .map(|key| key.as_str().to_owned())
            .collect(),
    }
}

/// An agent's snapshot as protobuf carries it.
fn agent_status(snapshot: &AgentSnapshot, now: Moment) -> v1::AgentStatus {
    let view = View::new(snapshot, now);
    let account = |field| snapshot.account_in(field).unwrap_or_default().to_owned();
    let capabilities = snapshot.capabilities.iter().map(|status| v1::CapabilityStatus {
        key: status.key.as_str().to_owned(),
        granted: status.granted,
        optional: status.optional,
        satisfied_by: status
            .satisfied_by
            .as_ref()
            .map(|key| key.as_str().to_owned())
            .unwrap_or_default(),
        description: view::description(snapshot, &status.key).to_owned(),
        state: capability_state(status.state()).into(),
    });
    v1::AgentStatus {
        agent: snapshot.manifest.agent.as_str().to_owned(),
        owner: snapshot.manifest.owner.as_str().to_owned(),
        state: agent_state(view.state).into(),
        message: view.message.to_owned(),
        action_url: view.action_url().unwrap_or_default().to_owned(),
        capabilities: capabilities.collect(),
        account: account(&AccountField::Account),
        service_account: account(&AccountField::ServiceAccount),
        accounts: snapshot
            .other_accounts()
            .into_iter()
            .map(|(provider, address)| (provider.to_string(), address.to_owned()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prost::Message;

    use super::*;
    use crate::testing::{at, token as issued};

    #[test]
    fn an_answer_and_a_streams_message_are_one_and_the_same() {
        let grant = TokenGrant {
            token: issued("sesame"),
            capabilities: Arc::new(["google.gmail.send".parse().unwrap()]),
        };
        let now = at("2024-01-15T09:31:00Z");
        let event = Some(Event::Token(access_token(&grant, now)));
        assert_eq!(*token(&grant, now), *framed(&WatchAccessTokenResponse { event }));
        let message = &token(&grant, now)[5..];
        let read = GetAccessTokenResponse::decode(message).unwrap();
        assert_eq!(read.token, Some(access_token(&grant, now)));
    }
}
