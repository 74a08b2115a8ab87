//! Answers that are right and come in another form than they should: with other fields, marked, compressed, broken off.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Response, header::CONTENT_ENCODING};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::{
    fault::{Cut, Fault},
    message::{Dropped, Reply},
};

/// An answer that may break off.
pub(crate) type Sent = Response<BoxBody<Bytes, Dropped>>;

/// An answer that is sent as it is.
pub(crate) fn unaltered(reply: Reply) -> Sent {
    reply.map(|body| body.map_err(|never| match never {}).boxed())
}

/// The answer in the form that a fault gives it.
pub(crate) async fn altered(reply: Reply, fault: &Fault) -> Sent {
    let (mut head, body) = reply.into_parts();
    let Ok(body) = body.collect().await;
    let mut body = body.to_bytes().to_vec();
    if let Ok(Value::Object(mut fields)) = serde_json::from_slice(&body)
        && fault.changes_fields()
    {
        fields.retain(|name, _| !fault.without.contains(name));
        fields.extend(fault.fields.clone());
        body = Value::Object(fields).to_string().into_bytes();
    }
    if fault.bom {
        body.splice(..0, *b"\xef\xbb\xbf");
    }
    if fault.gzip {
        body = compressed(&body).unwrap_or(body);
        head.headers
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if fault.cut == Cut::Within {
        body.truncate(body.len().saturating_sub(1));
        return Response::from_parts(head, breaking_off(body));
    }
    unaltered(Response::from_parts(head, Full::from(body)))
}

fn compressed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    to.write_all(body)?;
    to.finish()
}

/// A body after which the connection is closed.
fn breaking_off(body: Vec<u8>) -> BoxBody<Bytes, Dropped> {
    let end = stream::once(async {
        // What came before is sent first.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        Err(Dropped)
    });
    let begin = stream::iter([Ok(Frame::data(Bytes::from(body)))]);
    BodyExt::boxed(StreamBody::new(begin.chain(end)))
}
