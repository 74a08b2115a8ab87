//! Bodies of answers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http::{Method, Response, header};
use hyper::body::{Body, Frame, SizeHint};

use super::holder::Held;

/// Events as they come.
pub(crate) type Events = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// One type for all answers, so that the frequent one costs no allocation for its body's sake.
pub(crate) enum AgentBody {
    /// All of it at once.
    Whole(Bytes),
    /// Server-sent events.
    Events(Events),
    /// What gRPC says.
    Grpc(tonic::body::Body),
    /// An answer that takes a place until it was sent.
    Held(Box<(Self, Held)>),
}

impl AgentBody {
    /// This body, which takes a place until it was sent.
    pub(crate) fn holding(self, held: Held) -> Self {
        Self::Held(Box::new((self, held)))
    }

    /// True where all of it is there.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Events(_) | Self::Grpc(_) => false,
            Self::Held(held) => held.0.is_whole(),
        }
    }
}

impl From<Bytes> for AgentBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl From<Vec<u8>> for AgentBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Whole(bytes.into())
    }
}

/// The answer to a request of this method: to HEAD, the same head as to GET, and no body (RFC 9110, section 9.3.2).
pub(crate) fn for_method(method: &Method, mut response: Response<AgentBody>) -> Response<AgentBody> {
    if *method != Method::HEAD {
        return response;
    }
    let length = response.body().size_hint().exact();
    if let Some(length) = length
        && !response.headers().contains_key(header::CONTENT_LENGTH)
    {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(|_| AgentBody::Whole(Bytes::new()))
}

impl Body for AgentBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Events(events) => events
                .as_mut()
                .poll_next(context)
                .map(|event| event.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Grpc(body) => Pin::new(body).poll_frame(context),
            Self::Held(held) => Pin::new(&mut held.0).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Events(_) => false,
            Self::Grpc(body) => body.is_end_stream(),
            Self::Held(held) => held.0.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) => SizeHint::default(),
            Self::Grpc(body) => body.size_hint(),
            Self::Held(held) => held.0.size_hint(),
        }
    }
}
