//! An answer, at once or to come.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Method, Response};
use tonic::codegen::BoxFuture;

use super::{
    body::{AgentBody, for_method},
    holder::Held,
};

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
    pub(crate) fn for_method(self, method: Method) -> Self {
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
