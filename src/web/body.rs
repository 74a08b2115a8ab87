//! Reads what was posted.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;

/// How long the body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// All of the body. `None` when it is longer than `most` bytes, takes too long or breaks off.
pub(super) async fn read(body: Body, most: usize) -> Option<Bytes> {
    tokio::time::timeout(PATIENCE, to_bytes(body, most))
        .await
        .ok()?
        .ok()
}
