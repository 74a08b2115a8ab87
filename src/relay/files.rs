//! What an agent is shown, as the files of its directory.

use std::hash::RandomState;

use super::state::Shown;
use crate::agent_files::{
    directory::AgentDir,
    entry::Entry,
    error::FileError,
    files::{self, Seen},
};

/// The files as this process left them: `env`, `access_token`, `status.json`.
#[derive(Debug, Default)]
pub(crate) struct ShownFiles([Seen; 3]);

impl ShownFiles {
    /// Brings them to what is shown: what differs, each by rename.
    ///
    /// # Errors
    /// The first that could not be written; the others were.
    pub(crate) fn write(
        &mut self,
        dir: &AgentDir,
        shown: &Shown,
        keys: &RandomState,
    ) -> Result<(), FileError> {
        let (env, status, access_token) = (shown.env(), shown.status_json(), shown.access_token());
        let contents = [
            (Entry::Env, Some(env.as_bytes())),
            (Entry::AccessToken, access_token.map(str::as_bytes)),
            (Entry::Status, Some(status.as_bytes())),
        ];
        let mut failed = None;
        for ((entry, content), written) in contents.into_iter().zip(&mut self.0) {
            if let Err(error) = files::put(dir, entry, content, written, keys) {
                // What may be there no longer goes even where nothing can take its place.
                if access_token.is_none() && entry != Entry::Status {
                    let _ = dir.remove(entry);
                }
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
