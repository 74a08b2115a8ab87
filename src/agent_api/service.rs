//! Takes a request on an agent's socket to whoever answers it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Method, Request, Response, Version, header};
use hyper::{body::Incoming, service::Service};
use tonic::codegen::BoxFuture;

use super::{
    body::{AgentBody, for_method},
    grpc,
    holding::Held,
    http as routes,
    refusal::Refusal,
    server::Endpoint,
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

/// The answer to come. The frequent one is there at once and costs no allocation for the future's sake.
pub(crate) enum Answer {
    Now(Option<Response<AgentBody>>),
    Later(Pin<Box<dyn Future<Output = Response<AgentBody>> + Send>>),
    Grpc(BoxFuture<Response<tonic::body::Body>, Infallible>),
    /// An answer that takes a place until it was sent.
    Held(Box<Self>, Option<Held>),
}

impl Answer {
    pub(crate) fn now(response: Response<AgentBody>) -> Self {
        Self::Now(Some(response))
    }

    /// The answer to a request of this method, where this one is made for GET.
    fn for_method(self, method: Method) -> Self {
        if method != Method::HEAD {
            return self;
        }
        match self {
            Self::Now(response) => Self::Now(response.map(|response| for_method(&method, response))),
            Self::Later(answer) => Self::Later(Box::pin(async move { for_method(&method, answer.await) })),
            answer @ (Self::Grpc(_) | Self::Held(..)) => answer,
        }
    }

    /// This answer, which takes a place until it was sent.
    pub(crate) fn holding(self, held: Option<Held>) -> Self {
        match (self, held) {
            (answer, None) => answer,
            (Self::Now(Some(response)), Some(held)) => Self::now(response.map(|body| body.holding(held))),
            (answer, held) => Self::Held(Box::new(answer), held),
        }
    }
}

impl Future for Answer {
    type Output = Result<Response<AgentBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // A future that has resolved is not polled again.
                None => Poll::Pending,
            },
            Self::Later(answer) => answer.as_mut().poll(context).map(Ok),
            Self::Grpc(answer) => {
                let Ok(response) = ready!(answer.as_mut().poll(context));
                Poll::Ready(Ok(response.map(AgentBody::Grpc)))
            }
            Self::Held(answer, held) => {
                let Ok(response) = ready!(Pin::new(&mut **answer).poll(context));
                let holding = |body: AgentBody| match held.take() {
                    Some(held) => body.holding(held),
                    None => body,
                };
                Poll::Ready(Ok(response.map(holding)))
            }
        }
    }
}
