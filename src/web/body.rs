//! Reads what was posted.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;

/// How long the body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// All of the body. `None` when it is longer than `most` bytes, takes too long or breaks off.
pub(super) async fn read<B>(body: B, most: usize) -> Option<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let whole = Limited::new(body, most).collect();
    let whole = tokio::time::timeout(PATIENCE, whole).await.ok()?.ok()?;
    Some(whole.to_bytes())
}
