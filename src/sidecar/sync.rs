//! Follows the broker: asks again whenever it says that something changed, and comes back when it was away.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::changes::{Change, Changes};
use crate::{
    clock::{SharedClock, Uptime},
    entropy::SharedEntropy,
    id::AgentName,
    relay::{
        Source,
        answer::{NoAnswer, ProblemDetails},
        broker::Broker,
        state::{State, Trouble},
    },
    text::ShowPath,
};

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
    pub(super) clock: SharedClock,
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
            if (failures > 0 || trouble.is_final) && self.news.send(Err(trouble)).await.is_err() {
                return;
            }
            let ceiling = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LAST_PAUSE);
            tokio::time::sleep(self.entropy.between(LEAST_PAUSE, ceiling)).await;
        }
    }

    /// Follows until something goes wrong, or until nobody wants to know any more. It sets `failures` back once the broker
    /// answers.
    async fn sync(&self, failures: &mut u32) -> Result<(), Trouble> {
        let changes = Changes::open(&self.broker.upstream).await;
        let mut changes = changes.map_err(|no| self.trouble(no))?;
        loop {
            let state = self.ask().await?;
            *failures = 0;
            let look = state.next_look(self.clock.uptime());
            if self.news.send(Ok(state)).await.is_err() {
                return Ok(());
            }
            self.wait(&mut changes, look).await?;
        }
    }

    /// Waits until there is something to ask for: the broker says so, or it is time to `look`.
    async fn wait(&self, changes: &mut Changes, look: Option<Uptime>) -> Result<(), Trouble> {
        let due = async {
            match look {
                Some(look) => self.clock.sleep_until(look).await,
                None => std::future::pending().await,
            }
        };
        let change = tokio::select! {
            change = changes.next() => change,
            () = due => return Ok(()),
        };
        let source = self.broker.upstream.source();
        match change {
            Ok(Change::View) => Ok(()),
            Ok(Change::Removed(ProblemDetails { detail, .. })) => {
                Err(Trouble::refused(format!("{source} refuses: {detail}")))
            }
            Err(reason) => Err(Trouble::passing(format!("{source} {reason}"))),
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
