//! Where the pages are, as browsers reach them.

use url::Url;

use super::help;
use crate::{broker::AgentState, help::of_state, id::IntegrationId};

/// Where the console is, below the daemon's own address.
pub(super) const CONSOLE: &str = "/console";

/// The addresses of the pages.
pub(super) struct Paths {
    /// The path of `public_url`, without a slash at its end: a proxy may take it away.
    prefix: String,
}

impl Paths {
    /// Below this address.
    pub(super) fn new(public_url: &Url) -> Self {
        Self {
            prefix: public_url.path().trim_end_matches('/').to_owned(),
        }
    }

    /// The path before those of all pages.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The address of a page of the console.
    pub(super) fn console(&self, page: &str) -> String {
        format!("{}{CONSOLE}/{page}", self.prefix)
    }

    /// Where a browser goes that has connected an account.
    pub(super) fn connected(&self, account: &IntegrationId) -> String {
        self.console(&format!("integrations?done=connected&account={account}"))
    }

    /// The address of the page that explains a state; none where all is well.
    pub(super) fn explanation(&self, state: AgentState) -> Option<String> {
        let slug = of_state(state)?;
        Some(format!("{}{}", self.prefix, help::path(slug)))
    }
}

/// True for the addresses of the console.
pub(super) fn is_of_console(path: &str) -> bool {
    path.strip_prefix(CONSOLE)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
