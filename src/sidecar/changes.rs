//! The broker's stream of changes: that there is something else to ask for, or that the agent is gone.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use zeroize::Zeroizing;

use crate::relay::{
    answer::{NoAnswer, ProblemDetails},
    former_broker,
    upstream::Upstream,
};

/// The broker says that it is still there more often than this.
const SILENCE: Duration = Duration::from_secs(50);
/// Far more than any event about one agent.
const MOST_BYTES: usize = 1024 * 1024;
const END_OF_EVENT: &[u8] = b"\n\n";

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There is something else to ask for.
    View,
    /// The agent was removed; why the stream ends.
    Removed(ProblemDetails),
}

/// The stream.
pub(super) struct Changes {
    body: Incoming,
    events: Events,
}

impl Changes {
    /// Opens the stream.
    pub(super) async fn open(upstream: &Upstream) -> Result<Self, NoAnswer> {
        let answered = upstream
            .accepted(upstream.open("/v1/watch?view=true").await)
            .await;
        let response = match answered {
            Err(no) if no.is_no_such_query() => former_broker::watch(upstream).await?,
            answered => answered?,
        };
        Ok(Self {
            body: response.into_body(),
            events: Events::default(),
        })
    }

    /// Waits for the next change. Nothing is lost when it is not waited for to the end.
    ///
    /// # Errors
    /// When the stream is of no use any more: what the broker does, for a sentence.
    pub(super) async fn next(&mut self) -> Result<Change, &'static str> {
        loop {
            if let Some(change) = self.events.next() {
                return Ok(change);
            }
            if self.events.0.len() > MOST_BYTES {
                return Err("sends an event without an end");
            }
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| "says nothing any more")?;
            let frame = frame.and_then(Result::ok).ok_or("ended the stream of changes")?;
            if let Some(data) = frame.data_ref() {
                self.events.add(data);
            }
        }
    }
}

/// What came of events and was not read yet. A broker of the release before sends tokens in them.
#[derive(Default)]
struct Events(Zeroizing<Vec<u8>>);

impl Events {
    fn add(&mut self, came: &[u8]) {
        // Growing would leave a copy of a token behind.
        let mut all = Zeroizing::new(Vec::with_capacity(self.0.len() + came.len()));
        all.extend_from_slice(&self.0);
        all.extend_from_slice(came);
        self.0 = all;
    }

    /// The next event that came to its end.
    fn next(&mut self) -> Option<Change> {
        loop {
            let mut windows = self.0.windows(END_OF_EVENT.len());
            let end = windows.position(|window| window == END_OF_EVENT)?;
            let change = read(&self.0[..end]);
            self.0 = Zeroizing::new(self.0[end + END_OF_EVENT.len()..].to_vec());
            if change.is_some() {
                return change;
            }
        }
    }
}

/// What an event says; `None` for a comment, which keeps the connection alive.
fn read(event: &[u8]) -> Option<Change> {
    let mut lines = event.split(|byte| *byte == b'\n');
    let value = |name: &[u8]| lines.clone().find_map(|line| line.strip_prefix(name));
    if value(b"event: ") == Some(b"removed") {
        let problem = serde_json::from_slice(value(b"data: ").unwrap_or_default());
        return Some(Change::Removed(problem.unwrap_or_default()));
    }
    // What the others say is asked for.
    lines
        .any(|line| !line.is_empty() && !line.starts_with(b":"))
        .then_some(Change::View)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_when_it_is_there_to_its_end() {
        let stream = "event: view\ndata: {}\n\n: still here\n\nevent: token\ndata: {\"a\":1}\n\n\
                      event: removed\ndata: {\"code\":\"agent_removed\",\"detail\":\"It was removed.\"}\n\n";
        for size in 1..stream.len() {
            let (mut events, mut changes) = (Events::default(), Vec::new());
            for part in stream.as_bytes().chunks(size) {
                events.add(part);
                changes.extend(std::iter::from_fn(|| events.next()));
            }
            let removed = Change::Removed(ProblemDetails {
                code: "agent_removed".to_owned(),
                detail: "It was removed.".to_owned(),
            });
            assert_eq!(
                changes,
                [Change::View, Change::View, removed],
                "in parts of {size}"
            );
        }
    }
}
