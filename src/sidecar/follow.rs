//! Follows the broker: asks again whenever it says that something changed, and comes back when it was away.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{
    hand::{Hand, Rights, Trouble},
    retell,
    skew::BrokerClock,
    source::Source,
    upstream::Upstream,
};
use crate::{entropy::SharedEntropy, http_client::http_date, id::AgentName, text::ShowPath};

/// The broker says that it is still there more often than this.
const SILENCE: Duration = Duration::from_secs(50);
/// How long the question of what the token carries may take: the answer is at hand, or not worth waiting for.
const RIGHTS: Duration = Duration::from_secs(5);
/// The pause after a failure grows from here to there.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(15);
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// What came of a look at the broker.
pub(super) enum News {
    /// What it says now.
    Hand(Hand),
    /// Why it says nothing.
    Trouble(Trouble),
}

/// Follows the broker for as long as somebody wants the news.
pub(super) struct Follower {
    pub(super) upstream: Arc<Upstream>,
    /// The agent that it has to be, where the source does not say so by itself.
    pub(super) agent: Option<AgentName>,
    pub(super) broker_clock: Arc<BrokerClock>,
    pub(super) entropy: SharedEntropy,
    pub(super) news: mpsc::Sender<News>,
}

impl Follower {
    pub(super) async fn run(self) {
        let mut failures = 0_u32;
        loop {
            failures = failures.saturating_add(1);
            let trouble = match self.follow(&mut failures).await {
                Ok(()) => return,
                Err(trouble) => trouble,
            };
            // A stream that ended after it had begun well is no failure yet: a broker that is restarted ends it.
            if failures > 0 && self.news.send(News::Trouble(trouble)).await.is_err() {
                return;
            }
            let ceiling = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LAST_PAUSE);
            tokio::time::sleep(self.entropy.between(LEAST_PAUSE, ceiling)).await;
        }
    }

    /// Follows until something goes wrong, or until nobody wants to know any more. It sets `failures` back once the broker
    /// answers.
    async fn follow(&self, failures: &mut u32) -> Result<(), Trouble> {
        let changes = self.upstream.open("/v1/watch").await.map_err(Trouble::passing)?;
        let mut changes = self.accepted(changes).await?.into_body();
        loop {
            let hand = self.ask().await?;
            *failures = 0;
            if self.news.send(News::Hand(hand)).await.is_err() {
                return Ok(());
            }
            changed(&mut changes)
                .await
                .map_err(|reason| Trouble::passing(format!("{} {reason}", self.upstream.source())))?;
        }
    }

    async fn ask(&self) -> Result<Hand, Trouble> {
        let utf8 = |_| Trouble::passing(format!("{} answers with what is no text", self.upstream.source()));
        let asked = self.broker_clock.now();
        let (mut env, date) = self.get_dated("/v1/env").await?;
        let status = self.get("/v1/status").await?;
        let status = std::str::from_utf8(&status).map_err(utf8)?.to_owned();
        let text = |env: &[u8]| Ok(Zeroizing::new(std::str::from_utf8(env).map_err(utf8)?.to_owned()));
        let hand = Hand::new(text(&env)?, status.clone(), asked);
        if let (Some(wanted), Some(found), Source::Socket(path)) =
            (&self.agent, hand.agent(), self.upstream.source())
            && found != wanted.as_str()
        {
            return Err(Trouble::refused(format!(
                "{} is the socket of the agent {found}, and --agent says {wanted}: mount the volume of {wanted}, or leave \
                 --agent out",
                path.shown()
            )));
        }
        let rights = tokio::time::timeout(RIGHTS, self.rights(&hand)).await;
        let (rights, showed) = rights.unwrap_or_default();
        let moved_by = match (showed, date) {
            (Some(moved_by), _) => moved_by,
            // A proxy on the way may have put its own in the place of the broker's.
            (None, Some(date)) => self.broker_clock.showed(date, asked),
            (None, None) => self.broker_clock.moved_by(),
        };
        retell::env(&mut env, moved_by);
        let hand = Hand::new(text(&env)?, status, asked);
        let project = tokio::time::timeout(RIGHTS, self.project()).await;
        Ok(hand.with_rights(rights).with_project(project.ok().flatten()))
    }

    /// The project that the metadata protocol tells of; `None` where the broker does not say.
    async fn project(&self) -> Option<String> {
        let asked = self
            .upstream
            .open_metadata("/computeMetadata/v1/project/project-id");
        let response = asked.await.ok()?;
        let found = (response.status() == StatusCode::OK).then_some(response)?;
        let body = self.upstream.read(found).await.ok()?;
        let project = std::str::from_utf8(&body).ok()?.trim();
        (!project.is_empty()).then(|| project.to_owned())
    }

    /// What the main token carries, and what the broker's times have to be moved by. There are no rights where there is no
    /// token, or another by now: the news of that one comes.
    async fn rights(&self, hand: &Hand) -> (Option<Rights>, Option<SignedDuration>) {
        #[derive(Deserialize)]
        struct Told<'a> {
            access_token: &'a str,
        }
        let Some(token) = hand.main_token() else {
            return (None, None);
        };
        let asked = self.broker_clock.now();
        let Ok(body) = self.get("/v1/token").await else {
            return (None, None);
        };
        let showed = retell::token_clock(&body);
        let told = serde_json::from_slice(&body).ok();
        let is_same = told.is_some_and(|told: Told<'_>| told.access_token == token.as_str());
        let rights = is_same.then(|| serde_json::from_slice(&body).ok());
        let moved_by = showed.map(|showed| self.broker_clock.showed(showed, asked));
        (rights.flatten(), moved_by)
    }

    async fn get(&self, path: &'static str) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        self.get_dated(path).await.map(|(body, _)| body)
    }

    /// The same, with the time that the broker's clock shows.
    async fn get_dated(
        &self,
        path: &'static str,
    ) -> Result<(Zeroizing<Vec<u8>>, Option<Timestamp>), Trouble> {
        let response = self.upstream.open(path).await.map_err(Trouble::passing)?;
        let response = self.accepted(response).await?;
        let date = response.headers().get(header::DATE).and_then(http_date);
        let body = self.upstream.read(response).await.map_err(Trouble::passing)?;
        Ok((body, date))
    }

    /// An answer that is no refusal.
    async fn accepted(&self, response: Response<Incoming>) -> Result<Response<Incoming>, Trouble> {
        #[derive(Default, Deserialize)]
        struct Problem {
            #[serde(default)]
            code: String,
            #[serde(default)]
            detail: String,
        }
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let body = self.upstream.read(response).await.unwrap_or_default();
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        let source = self.upstream.source();
        let sentence = if problem.detail.is_empty() {
            format!("{source} answers with HTTP {}", status.as_u16())
        } else {
            format!("{source} refuses: {}", problem.detail)
        };
        Err(match problem.code.as_str() {
            // Its word on whose tokens they are.
            "wrong_pod" | "unknown_agent" | "agent_removed" | "wrong_user" => Trouble::refused(sentence),
            // A token that is refused now may be replaced in a moment.
            "unauthenticated" => Trouble {
                is_final: false,
                ..Trouble::refused(sentence)
            },
            _ => Trouble::passing(sentence),
        })
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
