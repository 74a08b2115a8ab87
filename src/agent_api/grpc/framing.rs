//! gRPC's messages as HTTP/2 carries them.
//!
//! tonic's encoder copies each message into a buffer of each stream's own and leaves it there. Here a message is made once,
//! for all who are told it, in memory that is wiped. Reading, statuses and everything without a secret are tonic's.

use bytes::{BufMut, Bytes};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use prost::Message;
use tonic::{Status, Streaming, body::Body};
use tonic_prost::ProstDecoder;
use zeroize::Zeroizing;

/// The largest request that is read: a few capabilities.
const REQUEST_BYTES: usize = 16 * 1024;
/// What is before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// A message with its prefix, in memory of the right size from the beginning: growing would copy a token about.
pub(super) fn framed(message: &impl Message) -> Zeroizing<Vec<u8>> {
    let length = message.encoded_len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(PREFIX_BYTES + length));
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Writing to memory does not fail.
    let _ = message.encode(&mut *bytes);
    bytes
}

/// Reads a request's one message.
pub(super) async fn read<M: Message + Default + 'static>(request: Request<Incoming>) -> Result<M, Status> {
    let encoding = request.headers().get("grpc-encoding");
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented("Compressed messages are not read here."));
    }
    let decoder = ProstDecoder::<M>::default();
    let mut messages = Streaming::new_request(decoder, request.into_body(), None, Some(REQUEST_BYTES));
    let message = messages.message().await?;
    let message = message.ok_or_else(|| Status::internal("The request has no message."))?;
    messages.trailers().await?;
    Ok(message)
}

/// An answer of one message.
pub(super) fn unary(message: Bytes) -> Response<Body> {
    let frames = [Ok(Frame::data(message)), end(&Status::ok(""))];
    respond(stream::iter(frames))
}

/// An answer of messages as they come, until the status that ends them.
pub(super) fn streaming(
    messages: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
) -> Response<Body> {
    respond(messages.map(|message| message.map(Frame::data).or_else(|status| end(&status))))
}

fn end(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}

fn respond(frames: impl Stream<Item = Result<Frame<Bytes>, Status>> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
