//! Takes a request on an agent's socket to whoever answers it.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderValue, Request, Response, Version, header};
use hyper::{body::Incoming, service::Service};

use super::{
    answer::Answer, body::AgentBody, endpoint::Endpoint, grpc, holder::Held, http as routes, refusal::Refusal,
};
use crate::net::host::{self, Unclear};

/// Serves one connection.
pub(crate) struct AgentService {
    endpoint: Arc<Endpoint>,
    asked: Arc<AtomicBool>,
    refused: Option<u32>,
}

impl AgentService {
    /// `asked` is set with the first request; `refused` names the uid that may not ask at all.
    pub(crate) fn new(endpoint: Arc<Endpoint>, asked: Arc<AtomicBool>, refused: Option<u32>) -> Self {
        Self {
            endpoint,
            asked,
            refused,
        }
    }

    /// Whether a request may be made, and the place that it takes. Over HTTP/1.1 its connection has one already.
    fn admit<B>(&self, request: &Request<B>) -> Result<Option<Held>, Refusal> {
        if let Some(uid) = self.refused {
            return Err(Refusal::wrong_user(uid));
        }
        if self.endpoint.agent.is_removed() {
            return Err(Refusal::removed());
        }
        if request.version() != Version::HTTP_2 {
            let refusal =
                host::is_given_twice(request).then(|| Refusal::invalid(Unclear::Several.to_string()));
            return refusal.map_or(Ok(None), Err);
        }
        let holdings = &self.endpoint.server.holdings;
        holdings.request(&self.endpoint.holder).map(Some)
    }
}

impl Service<Request<Incoming>> for AgentService {
    type Response = Response<AgentBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        self.asked.store(true, Ordering::Relaxed);
        let grpc = is_grpc(&request);
        let method = request.method().clone();
        match self.admit(&request) {
            Err(refusal) if grpc => Answer::now(refusal.into_grpc().into_http().map(AgentBody::Grpc)),
            Err(refusal) => Answer::now(refusal.into_http()).for_method(method),
            Ok(held) if grpc => grpc::call(&self.endpoint, request).holding(held),
            Ok(held) => routes::answer(&self.endpoint, &request)
                .for_method(method)
                .holding(held),
        }
    }
}

/// gRPC speaks HTTP/2 only.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2
        && request
            .headers()
            .get(header::CONTENT_TYPE)
            .map(HeaderValue::as_bytes)
            .is_some_and(|kind| kind.starts_with(b"application/grpc"))
}
