//! What is at hand of an agent: what the broker said last, and what of it still holds at a moment.

use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use super::skew;
use crate::{
    agent_api::google_compat::metadata::Facts,
    agent_view::{
        document::{Credential, Document, TokenView},
        render::json,
    },
    broker::AgentState,
    clock::{self, Moment, Uptime},
    id::{AgentName, CapabilityKey},
};

/// How long before a token's end the broker is asked for its successor where it has told of none: a tenth of what is left, at
/// most the first and at least the second of these.
const LONGEST_LEAD: Duration = Duration::from_secs(60);
const SHORTEST_LEAD: Duration = Duration::from_secs(1);

/// The words where nothing else is known.
const EXPIRED: &str = "The token has expired, and the broker has sent no other yet.";

/// What the broker said last. No `Debug`: it holds tokens.
#[derive(Clone)]
pub(crate) struct State {
    /// Its times are this machine's.
    view: Document<'static>,
    /// When it was asked, by this machine's clocks; `None` for what no broker said.
    heard: Option<Moment>,
}

/// Why what the broker said last does not hold any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) state: AgentState,
    pub(crate) message: String,
    /// The tokens go although they live.
    pub(crate) is_final: bool,
}

impl Trouble {
    /// The broker cannot be reached, say; it passes.
    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self {
            state: AgentState::ProviderUnavailable,
            message: message.into(),
            is_final: false,
        }
    }

    /// The broker does not give this pod the agent's tokens.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self {
            state: AgentState::Misconfigured,
            message: message.into(),
            is_final: true,
        }
    }

    /// Nobody renews the tokens any more.
    pub(crate) fn ended() -> Self {
        Self {
            is_final: true,
            ..Self::passing("The sidecar has ended, and nobody renews the token.")
        }
    }
}

impl State {
    /// What the broker says, with its times as this machine's clock shows them. The moment is when it was asked: a token's
    /// life is counted from there.
    pub(crate) fn new(view: Document<'static>, heard: Moment) -> Self {
        Self {
            view,
            heard: Some(heard),
        }
    }

    /// Nothing, of this agent.
    pub(crate) fn of_agent(agent: Option<&AgentName>) -> Self {
        let mut view = Document::default();
        if let Some(agent) = agent {
            view.status.agent = agent.to_string().into();
        }
        Self { view, heard: None }
    }

    /// Takes note that this machine's clock was set: the ends of tokens are told by what it shows.
    pub(crate) fn clock_shows(&mut self, now: Moment) {
        let Some(heard) = &mut self.heard else { return };
        let jump = skew::jump(*heard, now);
        heard.wall = heard.wall.checked_add(jump).unwrap_or(heard.wall);
        self.view.move_ends(jump);
    }

    /// The same without anything that the agent could use.
    pub(crate) fn without_tokens(&self) -> Self {
        let mut view = self.view.clone();
        view.credentials.clear();
        Self { view, heard: None }
    }

    /// What the broker said, and when; `None` for what no broker said.
    pub(crate) fn heard(&self) -> Option<(&Document<'static>, Moment)> {
        Some((&self.view, self.heard?))
    }

    /// True where there is a token, whether it lives or not.
    pub(crate) fn has_token(&self) -> bool {
        self.view.tokens().next().is_some()
    }

    /// The agent that the broker speaks of.
    pub(crate) fn agent(&self) -> Option<&str> {
        Some(&*self.view.status.agent).filter(|agent| !agent.is_empty())
    }

    /// State, sentence and address, for the log.
    pub(crate) fn for_log(&self) -> (String, String, Option<String>) {
        let status = &self.view.status;
        let url = status.action_url.as_deref().map(str::to_owned);
        (status.state.to_string(), status.message.to_string(), url)
    }

    /// True for what no broker said: nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.heard.is_none()
    }

    /// What of it holds at `now`.
    pub(crate) fn show(&self, now: Uptime, trouble: Option<&Trouble>) -> Shown {
        let is_final = trouble.is_some_and(|trouble| trouble.is_final);
        let mut shown = self.clone();
        let mut has_lost = false;
        for credential in &mut shown.view.credentials {
            let lives = |token| !is_final && self.end(token).is_some_and(|end| end > now);
            if credential.token.as_ref().is_some_and(|token| !lives(token)) {
                credential.withhold();
                has_lost = true;
            }
        }
        if has_lost || is_final || self.is_empty() {
            let passing = Trouble::passing(EXPIRED);
            let trouble = trouble.unwrap_or(&passing);
            let status = &mut shown.view.status;
            status.state = trouble.state.as_str().into();
            status.message = trouble.message.clone().into();
            if is_final {
                // Nobody mends there what is wrong here.
                status.action_url = None;
            }
        }
        Shown(shown)
    }

    /// When to ask again without any news: before the first of the tokens ends, and when it does.
    pub(crate) fn next_look(&self, now: Uptime) -> Option<Uptime> {
        let looks = self.view.tokens().filter_map(|token| {
            let end = self.end(token)?;
            let lead = (now.until(end)? / 10).min(LONGEST_LEAD);
            Some(if lead < SHORTEST_LEAD {
                end
            } else {
                end.before(lead)
            })
        });
        looks.min()
    }

    fn end(&self, token: &TokenView<'_>) -> Option<Uptime> {
        Some(self.heard?.uptime_at(token.expires_at))
    }

    fn left(&self, token: &TokenView<'_>, now: Uptime) -> Option<u64> {
        Some(now.until(self.end(token)?)?.as_secs())
    }
}

/// What holds at a moment. No `Debug`: it holds tokens.
#[derive(Clone)]
pub(crate) struct Shown(State);

impl Shown {
    /// The content of `env`.
    pub(crate) fn env(&self) -> Zeroizing<String> {
        self.0.view.env()
    }

    /// The content of `access_token`.
    pub(crate) fn access_token(&self) -> Option<&str> {
        self.0.view.access_token()
    }

    /// The content of `status.json`.
    pub(crate) fn status_json(&self) -> String {
        self.0.view.status.to_file()
    }

    /// When the first of the tokens ends; `None` without any.
    pub(crate) fn expires_at(&self) -> Option<Uptime> {
        self.0.view.tokens().filter_map(|token| self.0.end(token)).min()
    }

    /// True where there is a token that lives.
    pub(crate) fn has_token(&self, now: Uptime) -> bool {
        let mut tokens = self.0.view.tokens();
        tokens.any(|token| self.0.left(token, now).is_some())
    }

    /// All of it.
    pub(crate) fn view_json(&self, now: Uptime) -> Zeroizing<Vec<u8>> {
        let mut view = self.0.view.clone();
        for token in view.tokens_mut() {
            token.expires_in = self.0.left(token, now).unwrap_or_default();
        }
        json(&view)
    }

    /// The main token as `/v1/token` says it; `None` without one that lives.
    pub(crate) fn token_json(&self, now: Uptime) -> Option<Zeroizing<Vec<u8>>> {
        let main = self.0.view.credentials.first()?;
        let token = main.token.as_ref()?;
        Some(json(&Bearer {
            capabilities: Some(&main.capabilities),
            expires_at: Some(clock::rfc3339(token.expires_at)),
            ..self.bearer(token, now)?
        }))
    }

    /// Google's token as the metadata server says it; `None` without one that lives.
    pub(crate) fn metadata_json(&self, now: Uptime) -> Option<Zeroizing<Vec<u8>>> {
        Some(json(&self.bearer(self.for_google_libraries()?, now)?))
    }

    /// What the metadata server says of the rest; `None` where the broker has not told it yet.
    pub(crate) fn metadata_facts(&self, now: Uptime) -> Option<Facts<'_>> {
        let token = self.for_google_libraries();
        let bearer = token.and_then(|token| self.bearer(token, now));
        let scope = bearer.and_then(|bearer| bearer.scope);
        let scopes = scope.map(|scope| scope.split(' ').map(str::to_owned).collect());
        Some(Facts {
            agent: self.0.agent()?,
            scopes: scopes.unwrap_or_default(),
            project_id: self.0.view.project_id.as_deref()?,
        })
    }

    fn for_google_libraries(&self) -> Option<&TokenView<'static>> {
        let serves = |credential: &&Credential<'_>| credential.serves_google_libraries;
        self.0.view.credentials.iter().find(serves)?.token.as_ref()
    }

    fn bearer<'a>(&self, token: &'a TokenView<'_>, now: Uptime) -> Option<Bearer<'a>> {
        Some(Bearer {
            access_token: token.access_token.expose(),
            capabilities: None,
            expires_at: None,
            expires_in: self.0.left(token, now)?,
            scope: token.scope.as_deref(),
            token_type: "Bearer",
        })
    }
}

/// A token as JSON. No `Debug`: it holds it.
#[derive(Serialize)]
struct Bearer<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<&'a [CapabilityKey]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    token_type: &'static str,
}

#[cfg(test)]
mod tests;
