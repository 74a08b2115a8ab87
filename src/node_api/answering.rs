//! An answer to a node, and its body.

use std::{convert::Infallible, pin::Pin};

use bytes::Bytes;
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;

/// What an answer carries.
pub(super) type Body = UnsyncBoxBody<Bytes, tonic::Status>;
/// An answer that comes.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
