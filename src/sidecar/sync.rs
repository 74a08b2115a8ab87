//! Follows the broker: asks again whenever it says that something changed, and comes back when it was away.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::{
    answer::{NoAnswer, ProblemDetails},
    broker::Broker,
    source::Source,
    state::{State, Trouble},
};
use crate::{entropy::SharedEntropy, id::AgentName, text::ShowPath};

/// The broker says that it is still there more often than this.
const SILENCE: Duration = Duration::from_secs(50);
/// The pause after a failure grows from here to there.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(15);
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// What came of a look at the broker: what it says now, or why it says nothing.
pub(super) type News = Result<State, Trouble>;

/// Follows the broker for as long as somebody wants the news.
pub(super) struct BrokerSync {
    pub(super) broker: Arc<Broker>,
    /// The agent that it has to be, where the source does not say so by itself.
    pub(super) agent: Option<AgentName>,
    pub(super) entropy: SharedEntropy,
    pub(super) news: mpsc::Sender<News>,
}

impl BrokerSync {
    pub(super) async fn run(self) {
        let mut failures = 0_u32;
        loop {
            failures = failures.saturating_add(1);
            let trouble = match self.sync(&mut failures).await {
                Ok(()) => return,
                Err(trouble) => trouble,
            };
            // A stream that ended after it had begun well is no failure yet: a broker that is restarted ends it.
            if failures > 0 && self.news.send(Err(trouble)).await.is_err() {
                return;
            }
            let ceiling = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LAST_PAUSE);
            tokio::time::sleep(self.entropy.between(LEAST_PAUSE, ceiling)).await;
        }
    }

    /// Follows until something goes wrong, or until nobody wants to know any more. It sets `failures` back once the broker
    /// answers.
    async fn sync(&self, failures: &mut u32) -> Result<(), Trouble> {
        let upstream = &self.broker.upstream;
        let changes = upstream.accepted(upstream.open("/v1/watch").await).await;
        let mut changes = changes.map_err(|no| self.trouble(no))?.into_body();
        loop {
            let state = self.ask().await?;
            *failures = 0;
            if self.news.send(Ok(state)).await.is_err() {
                return Ok(());
            }
            changed(&mut changes)
                .await
                .map_err(|reason| Trouble::passing(format!("{} {reason}", upstream.source())))?;
        }
    }

    async fn ask(&self) -> Result<State, Trouble> {
        let state = self.broker.view().await.map_err(|no| self.trouble(no))?;
        if let (Some(wanted), Some(found), Source::Socket(path)) =
            (&self.agent, state.agent(), self.broker.upstream.source())
            && found != wanted.as_str()
        {
            return Err(Trouble::refused(format!(
                "{} is the socket of the agent {found}, and --agent says {wanted}: mount the volume of {wanted}, or leave \
                 --agent out",
                path.shown()
            )));
        }
        Ok(state)
    }

    fn trouble(&self, no: NoAnswer) -> Trouble {
        let refusal = match no {
            NoAnswer::Away(sentence) => return Trouble::passing(sentence),
            NoAnswer::Refused(refusal) => refusal,
        };
        let ProblemDetails { code, detail } = ProblemDetails::of(&refusal);
        let source = self.broker.upstream.source();
        let sentence = if detail.is_empty() {
            format!("{source} answers with HTTP {}", refusal.status().as_u16())
        } else {
            format!("{source} refuses: {detail}")
        };
        match code.as_str() {
            // Its word on whose tokens they are.
            "wrong_pod" | "unknown_agent" | "agent_removed" | "wrong_user" => Trouble::refused(sentence),
            // A token that is refused now may be replaced in a moment.
            "unauthenticated" => Trouble {
                is_final: false,
                ..Trouble::refused(sentence)
            },
            _ => Trouble::passing(sentence),
        }
    }
}

/// Waits until the stream tells of a change.
async fn changed(changes: &mut Incoming) -> Result<(), &'static str> {
    loop {
        let frame = tokio::time::timeout(SILENCE, changes.frame()).await;
        let frame = frame.map_err(|_| "says nothing any more")?;
        let frame = frame.and_then(Result::ok).ok_or("ended the stream of changes")?;
        // A comment keeps the connection alive and is no event.
        if frame
            .data_ref()
            .is_some_and(|data| !data.is_empty() && !data.starts_with(b":"))
        {
            return Ok(());
        }
    }
}
