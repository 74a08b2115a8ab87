//! gRPC on an agent's socket: `tokenbroker.v1.TokenService`.

mod framing;
mod message;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service},
};

use super::{
    answer_cache::Form,
    grpc::framing::{read, streaming, unary},
    http::provider_named,
    refusal::Refusal,
    watch::{Change, End, Watch},
};
use crate::{
    agent_api::{answer::Answer, endpoint::Endpoint},
    broker::TokenRequest,
    id::ProviderId,
    proto::v1::{GetAccessTokenRequest, GetStatusRequest, WatchAccessTokenRequest},
    text::quoted,
};

const PREFIX: &str = "/tokenbroker.v1.TokenService/";

/// How much of the path of a method that is not known is repeated, in characters.
const SHOWN_OF_PATH: usize = 100;

/// Answers a call.
pub(crate) fn call(endpoint: &Arc<Endpoint>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    let own = Arc::clone(endpoint);
    match path.strip_prefix(PREFIX) {
        Some("GetAccessToken") => {
            return answered(async move { get_access_token(&own, read(request).await?).await });
        }
        Some("WatchAccessToken") => {
            return answered(async move { watch_access_token(&own, &read(request).await?) });
        }
        Some("GetStatus") => {
            return answered(async move { Ok(get_status(&own, read(request).await?)) });
        }
        _ => {}
    }
    if let Some((mut route, is_stream)) = endpoint.server.common.route(path) {
        let held = is_stream.then(|| endpoint.server.holdings.stream(&endpoint.holder));
        return match held.transpose() {
            // These are ready at any time.
            Ok(held) => Answer::Grpc(Box::pin(async move { route.call(request).await })).holding(held),
            Err(refusal) => answered(std::future::ready(Err(refusal.into_grpc()))),
        };
    }
    let path = quoted(path, SHOWN_OF_PATH);
    let status = Status::unimplemented(format!("There is no method \"{path}\"."));
    answered(std::future::ready(Err(status)))
}

fn answered(answer: impl Future<Output = Result<Response<Body>, Status>> + Send + 'static) -> Answer {
    let answer: BoxFuture<_, Infallible> =
        Box::pin(async move { Ok(answer.await.unwrap_or_else(Status::into_http)) });
    Answer::Grpc(answer)
}

async fn get_access_token(
    endpoint: &Endpoint,
    request: GetAccessTokenRequest,
) -> Result<Response<Body>, Status> {
    let query = TokenRequest {
        integration: provider(endpoint, &request.integration)?,
        min_ttl: Duration::from_secs(request.min_ttl_seconds.into()),
        capabilities: request.capabilities,
        refresh: request.force_refresh,
    };
    let current = query.is_plain().then(|| {
        endpoint
            .server
            .broker
            .issuer
            .current_of(&endpoint.agent, query.integration.as_ref())
    });
    let grant = match current.flatten() {
        Some(grant) => grant,
        None => endpoint.obtain(&query).await.map_err(Refusal::into_grpc)?,
    };
    let server = &endpoint.server;
    let render = || message::token(&grant, server.moment());
    let message = endpoint.answers.get(Form::Grpc, &grant, server.uptime(), render);
    Ok(unary(message))
}

fn watch_access_token(
    endpoint: &Arc<Endpoint>,
    request: &WatchAccessTokenRequest,
) -> Result<Response<Body>, Status> {
    let provider = provider(endpoint, &request.integration)?;
    let watch = Watch::begin(endpoint, provider).map_err(Refusal::into_grpc)?;
    // `None` after the error that ends the stream.
    let changes = stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        let message = match watch.next().await {
            Ok(Change::Token(grant)) => watch.tell(Form::Grpc, &grant, |now| message::token(&grant, now)),
            Ok(Change::Status(snapshot)) => Bytes::from_owner(message::status_event(&snapshot, watch.now())),
            Err(End::Removed) => return Some((Err(Refusal::removed().into_grpc()), None)),
            Err(End::Stopping) => return Some((Err(Refusal::stopping().into_grpc()), None)),
        };
        Some((Ok(message), Some(watch)))
    });
    Ok(streaming(changes))
}

fn get_status(endpoint: &Endpoint, _: GetStatusRequest) -> Response<Body> {
    let status = message::status(&endpoint.agent.snapshot(), endpoint.server.moment());
    unary(Bytes::from_owner(status))
}

fn provider(endpoint: &Endpoint, name: &str) -> Result<Option<ProviderId>, Status> {
    if name.is_empty() {
        return Ok(None);
    }
    let found = provider_named(name, endpoint.server.broker.providers());
    found.map(Some).map_err(Refusal::into_grpc)
}
