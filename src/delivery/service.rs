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
    grpc, http as routes,
    refusal::Refusal,
    server::Endpoint,
};

/// Serves one connection.
pub(super) struct AgentService {
    endpoint: Arc<Endpoint>,
    asked: Arc<AtomicBool>,
    refused: Option<u32>,
}

impl AgentService {
    /// `asked` is set with the first request; `refused` names the uid that may not ask at all.
    pub(super) fn new(endpoint: Arc<Endpoint>, asked: Arc<AtomicBool>, refused: Option<u32>) -> Self {
        Self {
            endpoint,
            asked,
            refused,
        }
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
        let refusal = match self.refused {
            Some(uid) => Some(Refusal::wrong_user(uid)),
            None if self.endpoint.agent.is_removed() => Some(Refusal::removed()),
            None => None,
        };
        match refusal {
            Some(refusal) if grpc => Answer::now(refusal.into_grpc().into_http().map(AgentBody::Grpc)),
            Some(refusal) => Answer::now(refusal.into_http()).for_method(method),
            None if grpc => Answer::Grpc(grpc::call(&self.endpoint, request)),
            None => routes::answer(&self.endpoint, &request).for_method(method),
        }
    }
}

/// gRPC speaks HTTP/2 only.
pub(super) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2
        && request
            .headers()
            .get(header::CONTENT_TYPE)
            .map(HeaderValue::as_bytes)
            .is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// The answer to come. The frequent one is there at once and costs no allocation for the future's sake.
pub(super) enum Answer {
    Now(Option<Response<AgentBody>>),
    Later(Pin<Box<dyn Future<Output = Response<AgentBody>> + Send>>),
    Grpc(BoxFuture<Response<tonic::body::Body>, Infallible>),
}

impl Answer {
    pub(super) fn now(response: Response<AgentBody>) -> Self {
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
            Self::Grpc(answer) => Self::Grpc(answer),
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
        }
    }
}
