//! gRPC on an agent's socket: `tokenbroker.v1.TokenService`.

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service},
};

use super::{
    admin::convert::{agent_state, capability_state},
    http::integration_kind,
    refusal::Refusal,
    render::{self, View},
    server::Endpoint,
    watch::{Change, Watch},
};
use crate::{
    broker::{AgentSnapshot, TokenGrant, TokenQuery},
    catalog::IntegrationKind,
    clock::Moment,
    proto::{
        self,
        v1::{
            self, GetAccessTokenRequest, GetAccessTokenResponse, GetStatusRequest, GetStatusResponse,
            WatchAccessTokenRequest, WatchAccessTokenResponse,
            token_service_server::{TokenService, TokenServiceServer},
            watch_access_token_response::Event,
        },
    },
};

/// The largest request that is read: a few capabilities.
const REQUEST_BYTES: usize = 16 * 1024;
const PREFIX: &str = "/tokenbroker.v1.TokenService/";

/// Answers a call.
pub(super) fn call(
    endpoint: &Arc<Endpoint>,
    request: Request<Incoming>,
) -> BoxFuture<Response<Body>, Infallible> {
    if request.uri().path().starts_with(PREFIX) {
        return TokenServiceServer::from_arc(Arc::clone(endpoint))
            .max_decoding_message_size(REQUEST_BYTES)
            .call(request);
    }
    let path = request.uri().path();
    if let Some(mut route) = endpoint.server.common.route(path) {
        // These are ready at any time.
        return Box::pin(async move { route.call(request).await });
    }
    let status = Status::unimplemented(format!("There is no method {path:?}."));
    Box::pin(std::future::ready(Ok(status.into_http())))
}

#[tonic::async_trait]
impl TokenService for Endpoint {
    async fn get_access_token(
        &self,
        request: tonic::Request<GetAccessTokenRequest>,
    ) -> Result<tonic::Response<GetAccessTokenResponse>, Status> {
        let request = request.into_inner();
        let query = TokenQuery {
            integration: kind(&request.integration)?,
            min_ttl: Duration::from_secs(request.min_ttl_seconds.into()),
            capabilities: request.capabilities,
            refresh: request.force_refresh,
        };
        let current = query
            .is_plain()
            .then(|| self.server.broker.current_of(&self.agent, query.integration));
        let grant = match current.flatten() {
            Some(grant) => grant,
            None => self.obtain(&query).await.map_err(Refusal::into_grpc)?,
        };
        Ok(tonic::Response::new(GetAccessTokenResponse {
            token: Some(access_token(&grant, self.server.moment())),
        }))
    }

    type WatchAccessTokenStream =
        Pin<Box<dyn Stream<Item = Result<WatchAccessTokenResponse, Status>> + Send>>;

    async fn watch_access_token(
        &self,
        request: tonic::Request<WatchAccessTokenRequest>,
    ) -> Result<tonic::Response<Self::WatchAccessTokenStream>, Status> {
        let kind = kind(&request.get_ref().integration)?;
        self.declares(kind).map_err(Refusal::into_grpc)?;
        // `None` after the error that ends the stream.
        let changes = stream::unfold(Some(Watch::new(self, kind)), |watch| async move {
            let mut watch = watch?;
            let event = match watch.next().await {
                Change::Token(grant) => Event::Token(access_token(&grant, watch.now())),
                Change::Status(snapshot) => Event::Status(agent_status(&snapshot, watch.now())),
                Change::Removed => return Some((Err(Refusal::removed().into_grpc()), None)),
                Change::Stopping => return Some((Err(Refusal::stopping().into_grpc()), None)),
            };
            let response = WatchAccessTokenResponse { event: Some(event) };
            Some((Ok(response), Some(watch)))
        });
        Ok(tonic::Response::new(Box::pin(changes)))
    }

    async fn get_status(
        &self,
        _: tonic::Request<GetStatusRequest>,
    ) -> Result<tonic::Response<GetStatusResponse>, Status> {
        let status = agent_status(&self.agent.snapshot(), self.server.moment());
        Ok(tonic::Response::new(GetStatusResponse { status: Some(status) }))
    }
}

fn kind(name: &str) -> Result<Option<IntegrationKind>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    integration_kind(name).map(Some).map_err(Refusal::into_grpc)
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

/// An agent's situation as protobuf carries it.
fn agent_status(snapshot: &AgentSnapshot, now: Moment) -> v1::AgentStatus {
    let view = View::new(snapshot, now);
    let account = |kind| snapshot.account(kind).unwrap_or_default().to_owned();
    let capabilities = snapshot.capabilities.iter().map(|status| v1::CapabilityStatus {
        key: status.key.as_str().to_owned(),
        granted: status.granted,
        optional: status.optional,
        satisfied_by: status
            .satisfied_by
            .as_ref()
            .map(|key| key.as_str().to_owned())
            .unwrap_or_default(),
        description: render::description(snapshot, &status.key).to_owned(),
        state: capability_state(status.state()).into(),
    });
    v1::AgentStatus {
        agent: snapshot.manifest.agent.as_str().to_owned(),
        owner: snapshot.manifest.owner.as_str().to_owned(),
        state: agent_state(view.state).into(),
        message: view.message.to_owned(),
        action_url: view.action_url().unwrap_or_default().to_owned(),
        capabilities: capabilities.collect(),
        account: account(IntegrationKind::Google),
        service_account: account(IntegrationKind::GoogleServiceAccount),
    }
}
