//! What an agent's files say, as pure text.
//!
//! `env` has to mean the same to `docker --env-file`, to a shell's `set -a; . env` and to dotenv parsers.
//! They disagree about quotes, so nothing is quoted: a value that needs quoting is not written at all (`plain`).

use std::io::{self, Write};

use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    document::{Credential, Document, Status},
    plain::{ACTION_URL, STATE, is_plain_value},
};
use crate::{clock, id::CapabilityKey, provider::Listed};

impl Document<'_> {
    /// The content of `env`.
    pub(crate) fn env(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.env_capacity()));
        let any_token = self.tokens().next().is_some();
        for credential in &self.credentials {
            let names = &credential.env;
            if let Some(token) = &credential.token {
                line(&mut text, &names.access_token, token.access_token.expose());
                line(&mut text, &names.expires_at, &clock::rfc3339(token.expires_at));
            }
            if let Some(name) = names.capabilities.name().filter(|_| any_token) {
                self.capabilities_line(&mut text, name, credential);
            }
            if let (Some(name), Some(_)) = (&names.account, &credential.token) {
                line(&mut text, name, credential.account.as_deref().unwrap_or_default());
            }
        }
        line(&mut text, STATE, &self.status.state);
        if let Some(url) = self.plain_action_url() {
            line(&mut text, ACTION_URL, url);
        }
        text
    }

    /// What the token serves, and what those serve that are listed with it.
    fn capabilities_line(&self, text: &mut String, name: &str, of: &Credential<'_>) {
        let is_told = |credential: &&Credential<'_>| match &credential.env.capabilities {
            Listed::In(_) => credential.provider == of.provider,
            Listed::With(provider) => *provider == of.provider,
            Listed::Elsewhere => false,
        };
        let told: Vec<_> = self.credentials.iter().filter(is_told).collect();
        text.push_str(name);
        text.push('=');
        let keys = self.keys();
        let served = keys.filter(|key| {
            told.iter()
                .any(|credential| credential.capabilities.contains(key))
        });
        for (index, key) in served.enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(key.as_str());
        }
        text.push('\n');
    }

    /// What was declared, in the manifest's order.
    fn keys(&self) -> impl Iterator<Item = &CapabilityKey> {
        self.status.capabilities.iter().map(|capability| &capability.key)
    }

    fn plain_action_url(&self) -> Option<&str> {
        self.status
            .action_url
            .as_deref()
            .filter(|url| is_plain_value(url))
    }

    /// Enough for the whole text: growing would leave a copy of the token behind in freed memory.
    pub(super) fn env_capacity(&self) -> usize {
        let keys: usize = self.keys().map(|key| key.as_str().len() + 1).sum();
        let credentials = self.credentials.iter().map(|credential| {
            let names = &credential.env;
            let token = credential.token.as_ref();
            names.names().map(str::len).sum::<usize>()
                + names.capabilities.name().map_or(0, |_| keys)
                + token.map_or(0, |token| token.access_token.expose().len())
                + credential.account.as_deref().map_or(0, str::len)
                + 64
        });
        credentials.sum::<usize>() + self.plain_action_url().map_or(0, str::len) + 128
    }

    /// The content of `access_token`.
    pub(crate) fn access_token(&self) -> Option<&str> {
        let main = self.credentials.first()?;
        main.token.as_ref().map(|token| token.access_token.expose())
    }
}

impl Status<'_> {
    /// The content of `status.json`.
    pub(crate) fn to_file(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push('=');
    text.push_str(value);
    text.push('\n');
}

/// A value as JSON, in memory of the right size from the beginning: growing would leave a copy of a token behind.
pub(crate) fn json(value: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut size = Size(0);
    // Neither counting nor writing to memory fails, and neither does anything in the value.
    let _ = serde_json::to_writer(&mut size, value);
    let mut text = Zeroizing::new(Vec::with_capacity(size.0));
    let _ = serde_json::to_writer(&mut *text, value);
    text
}

/// Counts the bytes that are written.
struct Size(usize);

impl Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
