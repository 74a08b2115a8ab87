//! What was written for one agent, and what may stay there when writing fails.

use std::hash::{BuildHasher, RandomState};

use super::{
    directory::{AgentDir, Look},
    error::FileError,
    mark::Mark,
};
use crate::{
    agent_files::entry::Entry,
    agent_view::{adc::CredentialFiles, view::View},
    clock::Uptime,
};

/// What is known of one file. A hash, not the content: ten thousand agents' tokens are in memory once already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Seen {
    /// It was not written by this process.
    #[default]
    Unknown,
    /// It is not there.
    Absent,
    /// Content and owner have this hash, and this is how it was left.
    Written(u64, Mark),
}

/// Which tokens the files may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Held {
    /// Whatever an earlier process wrote.
    #[default]
    Unknown,
    /// None.
    Nothing,
    /// With these rights; the first of them ends then.
    Token { rights: u64, expires_at: Uptime },
}

/// The files of one agent as this process left them.
#[derive(Default)]
pub(crate) struct Files {
    env: Seen,
    access_token: Seen,
    credentials: Seen,
    external_credentials: Seen,
    status: Seen,
    held: Held,
}

impl Files {
    /// Writes what changed. Returns what went wrong; what could be written was.
    ///
    /// A token that may no longer be there is taken away even when nothing can be written in its place. One
    /// that merely awaits its successor stays, until it expires. The credential files are no tokens: what they are
    /// good for is decided when they are used.
    pub(crate) fn write(
        &mut self,
        dir: &AgentDir,
        view: &View<'_>,
        credentials: Option<&CredentialFiles>,
        now: Uptime,
        keys: &RandomState,
    ) -> Vec<FileError> {
        if dir.was_made() {
            *self = Self {
                held: Held::Nothing,
                ..Self::default()
            };
        } else if self.env == Seen::Unknown {
            dir.sweep();
        }
        let wanted = view.expires_at().map_or(Held::Nothing, |expires_at| Held::Token {
            rights: view.rights(keys),
            expires_at,
        });
        let mut errors = self.attempt(dir, view, credentials, keys);
        if !errors.is_empty() && self.must_go(wanted, now) {
            match self.take_away(dir) {
                // That may have made the room that was lacking.
                Ok(()) => errors = self.attempt(dir, view, credentials, keys),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() || self.held == Held::Nothing {
            self.held = wanted;
        }
        errors
    }

    /// The entries that are not as they were left. What could not be written is not among them: it is tried again anyway.
    pub(crate) fn changed(&self, dir: &Look, keys: &RandomState) -> impl Iterator<Item = Entry> {
        let each = [
            (Entry::Env, self.env),
            (Entry::AccessToken, self.access_token),
            (Entry::Credentials, self.credentials),
            (Entry::ExternalCredentials, self.external_credentials),
            (Entry::Status, self.status),
        ];
        each.into_iter().filter_map(|(entry, seen)| {
            let is_changed = match seen {
                Seen::Unknown => false,
                Seen::Absent => dir.entry(entry, keys).is_some(),
                Seen::Written(_, mark) => dir.entry(entry, keys) != Some(mark),
            };
            is_changed.then_some(entry)
        })
    }

    /// When what is on disk has to go, should nothing be written until then.
    pub(crate) fn expires_at(&self) -> Option<Uptime> {
        match self.held {
            Held::Token { expires_at, .. } => Some(expires_at),
            Held::Unknown | Held::Nothing => None,
        }
    }

    /// Takes everything secret away: the directory cannot be put in order.
    pub(crate) fn withdraw(&mut self, dir: &AgentDir) -> Result<(), FileError> {
        self.credentials = Seen::Unknown;
        self.external_credentials = Seen::Unknown;
        let credentials = dir.remove(Entry::Credentials);
        let external = dir.remove(Entry::ExternalCredentials);
        self.take_away(dir).and(credentials).and(external)?;
        self.credentials = Seen::Absent;
        self.external_credentials = Seen::Absent;
        Ok(())
    }

    /// Takes the token away: the agent has none any more.
    fn take_away(&mut self, dir: &AgentDir) -> Result<(), FileError> {
        self.env = Seen::Unknown;
        self.access_token = Seen::Unknown;
        let env = dir.remove(Entry::Env);
        dir.remove(Entry::AccessToken).and(env)?;
        self.env = Seen::Absent;
        self.access_token = Seen::Absent;
        self.held = Held::Nothing;
        Ok(())
    }

    fn attempt(
        &mut self,
        dir: &AgentDir,
        view: &View<'_>,
        credentials: Option<&CredentialFiles>,
        keys: &RandomState,
    ) -> Vec<FileError> {
        let env = view.env();
        let status = view.status_json();
        let adc = credentials.map(|files| files.adc.as_slice());
        let external = credentials.map(|files| files.external.as_slice());
        let access_token = view.token().map(|token| token.access_token.expose().as_bytes());
        [
            put(dir, Entry::Env, Some(env.as_bytes()), &mut self.env, keys),
            put(
                dir,
                Entry::AccessToken,
                access_token,
                &mut self.access_token,
                keys,
            ),
            put(dir, Entry::Credentials, adc, &mut self.credentials, keys),
            put(
                dir,
                Entry::ExternalCredentials,
                external,
                &mut self.external_credentials,
                keys,
            ),
            put(
                dir,
                Entry::Status,
                Some(status.as_bytes()),
                &mut self.status,
                keys,
            ),
        ]
        .into_iter()
        .filter_map(Result::err)
        .collect()
    }

    fn must_go(&self, wanted: Held, now: Uptime) -> bool {
        match (self.held, wanted) {
            (Held::Nothing, _) => false,
            (Held::Token { rights, expires_at }, Held::Token { rights: other, .. }) => {
                rights != other || expires_at <= now
            }
            (Held::Unknown, _) | (_, Held::Unknown | Held::Nothing) => true,
        }
    }
}

/// Brings one file to its content, unless it is just as it was left.
pub(crate) fn put(
    dir: &AgentDir,
    entry: Entry,
    content: Option<&[u8]>,
    seen: &mut Seen,
    keys: &RandomState,
) -> Result<(), FileError> {
    let hash = content.map(|content| keys.hash_one((dir.owner(), content)));
    match (*seen, hash) {
        (Seen::Written(known, mark), Some(hash)) if known == hash && dir.entry(entry, keys) == Some(mark) => {
            return Ok(());
        }
        (Seen::Absent, None) if dir.entry(entry, keys).is_none() => return Ok(()),
        _ => {}
    }
    *seen = Seen::Unknown;
    *seen = if let (Some(content), Some(hash)) = (content, hash) {
        Seen::Written(hash, dir.write(entry, content, keys)?)
    } else {
        dir.remove(entry)?;
        Seen::Absent
    };
    Ok(())
}

#[cfg(test)]
mod tests;
