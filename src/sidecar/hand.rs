//! What the sidecar has at hand: what the broker said last, and what of it still holds at a moment.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{retell, skew};
use crate::{
    agent_api::google_compat::metadata::Facts,
    broker::AgentState,
    clock::{Moment, Uptime},
    id::AgentName,
};

const PERSON: &str = "GOOGLE_OAUTH_";
const SERVICE: &str = "GOOGLE_SA_";
const TOKEN: &str = "ACCESS_TOKEN";
const EXPIRY: &str = "TOKEN_EXPIRES_AT";
const CAPABILITIES: &str = "GOOGLE_OAUTH_CAPABILITIES";
const STATE: &str = "TOKEN_BROKER_STATE";
/// The words where nothing else is known.
const EXPIRED: &str = "The token has expired, and the broker has sent no other yet.";

/// What the broker said last. No `Debug`: it holds tokens.
#[derive(Clone, Default)]
pub(super) struct Hand {
    /// The content of `env`.
    env: Zeroizing<String>,
    /// The document of `/v1/status`.
    status: String,
    /// When it was asked, by this machine's clocks.
    heard: Option<Moment>,
    /// What the main token carries, where the broker said so.
    rights: Option<Rights>,
    /// The project that the metadata protocol tells of, where the broker said so.
    project_id: Option<String>,
}

/// What a token carries, as `/v1/token` says it.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Rights {
    scope: String,
    capabilities: Vec<String>,
}

/// Why what the broker said last does not hold any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) state: AgentState,
    pub(super) message: String,
    /// The tokens go although they live.
    pub(super) is_final: bool,
}

impl Trouble {
    /// The broker cannot be reached, say; it passes.
    pub(super) fn passing(message: impl Into<String>) -> Self {
        Self {
            state: AgentState::ProviderUnavailable,
            message: message.into(),
            is_final: false,
        }
    }

    /// The broker does not give this pod the agent's tokens.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self {
            state: AgentState::Misconfigured,
            message: message.into(),
            is_final: true,
        }
    }

    /// Nobody renews the tokens any more.
    pub(super) fn ended() -> Self {
        Self {
            is_final: true,
            ..Self::passing("The sidecar has ended, and nobody renews the token.")
        }
    }
}

/// What holds at a moment. No `Debug`: it holds tokens.
#[derive(Clone, Default)]
pub(super) struct Shown {
    pub(super) env: Zeroizing<String>,
    pub(super) access_token: Option<Zeroizing<String>>,
    pub(super) status: String,
    /// When the first of the tokens ends; `None` without any.
    pub(super) expires_at: Option<Uptime>,
    /// When the main one does, also as it is written.
    main_expires_at: Option<(Uptime, String)>,
    rights: Option<Rights>,
    agent: Option<String>,
    project_id: Option<String>,
}

impl Hand {
    /// What the broker says, with its times as this machine's clock shows them. The moment is when it was asked: a token's
    /// life is counted from there.
    pub(super) fn new(env: Zeroizing<String>, status: String, heard: Moment) -> Self {
        Self {
            env,
            status,
            heard: Some(heard),
            rights: None,
            project_id: None,
        }
    }

    /// Nothing, of this agent.
    pub(super) fn of_agent(agent: &AgentName) -> Self {
        Self {
            status: json!({ "agent": agent.as_str() }).to_string(),
            ..Self::default()
        }
    }

    /// Takes note that this machine's clock was set: the ends of tokens are told by what it shows.
    pub(super) fn clock_shows(&mut self, now: Moment) {
        let Some(heard) = &mut self.heard else { return };
        let jump = skew::jump(*heard, now);
        if jump.is_zero() {
            return;
        }
        heard.wall = heard.wall.checked_add(jump).unwrap_or(heard.wall);
        let mut bytes = Zeroizing::new(std::mem::take(&mut *self.env).into_bytes());
        retell::env(&mut bytes, jump);
        // Times in the place of times: it is text as before.
        self.env = Zeroizing::new(String::from_utf8(std::mem::take(&mut *bytes)).unwrap_or_default());
    }

    /// The same without anything that the agent could use.
    pub(super) fn without_tokens(&self) -> Self {
        Self {
            status: self.status.clone(),
            project_id: self.project_id.clone(),
            ..Self::default()
        }
    }

    /// True where there is a token, whether it lives or not.
    pub(super) fn has_token(&self) -> bool {
        [PERSON, SERVICE]
            .iter()
            .any(|prefix| self.value(prefix, TOKEN).is_some())
    }

    /// The agent that the broker speaks of.
    pub(super) fn agent(&self) -> Option<String> {
        text(&self.document(), "agent")
    }

    /// State, sentence and address, for the log.
    pub(super) fn situation(&self) -> (String, String, Option<String>) {
        let document = self.document();
        let field = |name| text(&document, name).unwrap_or_default();
        (field("state"), field("message"), text(&document, "action_url"))
    }

    /// The same, with what the main token carries.
    pub(super) fn with_rights(self, rights: Option<Rights>) -> Self {
        Self { rights, ..self }
    }

    /// The same, with the project that the metadata protocol tells of.
    pub(super) fn with_project(self, project_id: Option<String>) -> Self {
        Self { project_id, ..self }
    }

    /// The main token, whether it lives or not.
    pub(super) fn main_token(&self) -> Option<Zeroizing<String>> {
        let shown = self.shown(self.env.clone(), String::new());
        shown.access_token
    }

    /// True for what no broker said: nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.env.is_empty()
    }

    /// What of it holds at `now`.
    pub(super) fn show(&self, now: Uptime, trouble: Option<&Trouble>) -> Shown {
        let gone = |prefix: &&str| {
            let expiry = self.expiry(prefix);
            let is_over =
                expiry.is_some_and(|at| at <= now) || trouble.is_some_and(|trouble| trouble.is_final);
            is_over || (expiry.is_none() && self.value(prefix, TOKEN).is_some())
        };
        let gone: Vec<&str> = [PERSON, SERVICE].into_iter().filter(gone).collect();
        let has_lost = gone.iter().any(|prefix| self.value(prefix, TOKEN).is_some());
        if !has_lost && !self.is_empty() && trouble.is_none_or(|trouble| !trouble.is_final) {
            return self.shown(self.env.clone(), self.status.clone());
        }
        let passing = Trouble::passing(EXPIRED);
        let trouble = trouble.unwrap_or(&passing);
        self.shown(self.env_without(&gone, trouble.state), self.status_with(trouble))
    }

    fn shown(&self, env: Zeroizing<String>, status: String) -> Shown {
        let left = Self { env, ..self.clone() };
        let (person, service) = (left.expiry(PERSON), left.expiry(SERVICE));
        // A person's token is the main one of an agent that declares something of a person's account.
        let main = match left.value(PERSON, TOKEN) {
            Some(token) => Some((token, person, PERSON)),
            None if left.env.lines().any(|line| line.starts_with(CAPABILITIES)) => None,
            None => left.value(SERVICE, TOKEN).map(|token| (token, service, SERVICE)),
        };
        Shown {
            access_token: main.map(|(token, ..)| Zeroizing::new(token.to_owned())),
            main_expires_at: main
                .and_then(|(_, expiry, prefix)| Some((expiry?, left.value(prefix, EXPIRY)?.to_owned()))),
            expires_at: person.into_iter().chain(service).min(),
            rights: self.rights.clone(),
            agent: left.agent(),
            project_id: self.project_id.clone(),
            env: left.env.clone(),
            status,
        }
    }

    fn env_without(&self, gone: &[&str], state: AgentState) -> Zeroizing<String> {
        // Enough for the whole text: growing would leave a copy of a token behind.
        let mut env = Zeroizing::new(String::with_capacity(self.env.len() + 64));
        let kept = self.env.lines().filter(|line| {
            let is_gone = gone.iter().any(|prefix| line.starts_with(prefix));
            !is_gone && !line.starts_with(STATE)
        });
        for line in kept {
            env.push_str(line);
            env.push('\n');
        }
        env.push_str(STATE);
        env.push('=');
        env.push_str(state.as_str());
        env.push('\n');
        env
    }

    fn status_with(&self, trouble: &Trouble) -> String {
        let mut document = self.document();
        let empty =
            json!({ "agent": "", "owner": "", "action_url": null, "account": null, "capabilities": [] });
        for (name, value) in empty.as_object().into_iter().flatten() {
            document.entry(name).or_insert_with(|| value.clone());
        }
        document.insert("state".to_owned(), trouble.state.as_str().into());
        document.insert("message".to_owned(), trouble.message.as_str().into());
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        text
    }

    fn document(&self) -> Map<String, Value> {
        serde_json::from_str(&self.status).unwrap_or_default()
    }

    fn line(&self, name: &str) -> Option<&str> {
        let found = |line: &'_ str| line.strip_prefix(name)?.strip_prefix('=').map(str::len);
        let line = self.env.lines().find(|line| found(line).is_some())?;
        Some(&line[name.len() + 1..]).filter(|value| !value.is_empty())
    }

    fn value(&self, prefix: &str, name: &str) -> Option<&str> {
        self.line(&format!("{prefix}{name}"))
    }

    fn expiry(&self, prefix: &str) -> Option<Uptime> {
        let wall: Timestamp = self.value(prefix, EXPIRY)?.parse().ok()?;
        Some(self.heard?.uptime_at(wall))
    }
}

fn text(document: &Map<String, Value>, name: &str) -> Option<String> {
    let value = document.get(name)?.as_str()?;
    Some(value.to_owned()).filter(|value| !value.is_empty())
}

impl Shown {
    /// The main token as `/v1/token` says it; `None` without one that lives.
    pub(super) fn token_json(&self, now: Uptime) -> Option<Vec<u8>> {
        let rights = self.rights.clone().unwrap_or_else(|| self.written_rights());
        let mut token = self.bearer(now)?;
        let expires_at = self.main_expires_at.as_ref().map(|(_, written)| written);
        token.insert("expires_at".to_owned(), json!(expires_at));
        token.insert("capabilities".to_owned(), json!(rights.capabilities));
        serde_json::to_vec(&token).ok()
    }

    /// The main token as the metadata server says it; `None` without one that lives.
    pub(super) fn metadata_json(&self, now: Uptime) -> Option<Vec<u8>> {
        serde_json::to_vec(&self.bearer(now)?).ok()
    }

    /// What the metadata server says of the rest; `None` where the broker has not told it yet.
    pub(super) fn metadata_facts(&self, now: Uptime) -> Option<Facts<'_>> {
        let rights = self.rights.as_ref().filter(|_| self.bearer(now).is_some());
        let scopes = rights.map(|rights| rights.scope.split(' ').map(str::to_owned).collect());
        Some(Facts {
            agent: self.agent.as_deref()?,
            scopes: scopes.unwrap_or_default(),
            project_id: self.project_id.as_deref()?,
        })
    }

    fn bearer(&self, now: Uptime) -> Option<Map<String, Value>> {
        let token = self.access_token.as_ref()?;
        let left = now.until(self.main_expires_at.as_ref()?.0)?;
        let mut object = Map::new();
        object.insert("access_token".to_owned(), token.as_str().into());
        object.insert("token_type".to_owned(), "Bearer".into());
        object.insert("expires_in".to_owned(), left.as_secs().into());
        if let Some(Rights { scope, .. }) = &self.rights {
            object.insert("scope".to_owned(), scope.as_str().into());
        }
        Some(object)
    }

    /// What `env` says of them: all there is after a restart without a broker.
    fn written_rights(&self) -> Rights {
        let line = self
            .env
            .lines()
            .find_map(|line| line.strip_prefix(CAPABILITIES)?.strip_prefix('='));
        let keys = line.unwrap_or_default().split(',').filter(|key| !key.is_empty());
        Rights {
            scope: String::new(),
            capabilities: keys.map(str::to_owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
