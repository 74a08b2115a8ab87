//! Why something could not be had of the daemon, and the exit codes that say so, in one table.

use std::{fmt, process::ExitCode};

use serde::Serialize;

/// What the program's exit code says. `token-broker --help` prints [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// It did not work, or a check found something wrong.
    Failed,
    /// The command line is wrong.
    Usage,
    /// Nothing answers on the socket, or not in time.
    Unreachable,
    /// What was named does not exist.
    NotFound,
    /// A person has to act: connect, reconnect, or grant a permission.
    NeedsPerson,
    /// Passing trouble: the provider is unavailable, or was asked too often.
    TryLater,
    /// The operator has to act: configuration, key, OAuth client, manifest.
    Misconfigured,
    /// Waiting took too long (as `timeout(1)` says it).
    TimedOut,
    /// `exec`: the command exists and cannot be run (POSIX shell convention).
    CannotExecute,
    /// `exec`: there is no such command (POSIX shell convention).
    CommandNotFound,
    /// `exec`: what the command ended with.
    OfCommand(u8),
}

/// The documentation of every code.
pub(crate) const TABLE: &str = "\
Exit codes:
    0  done
    1  it did not work, or a check found something wrong
    2  the command line is wrong
    3  the daemon cannot be reached, or does not answer
    4  what was named does not exist: an integration, an agent, a capability
    5  a person has to act (not_connected, permission_missing, reconnect_required, revoked)
    6  passing trouble, worth trying again (provider_unavailable, rate_limited)
    7  the operator has to act: configuration, key, client, manifest (misconfigured, not_declared)
  124  `connect`, `wait` or `exec` waited too long
  126  `exec`: the command cannot be run
  127  `exec`: there is no such command
`exec` otherwise ends with the code of the command that it runs.";

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotFound => 4,
            Self::NeedsPerson => 5,
            Self::TryLater => 6,
            Self::Misconfigured => 7,
            Self::TimedOut => 124,
            Self::CannotExecute => 126,
            Self::CommandNotFound => 127,
            Self::OfCommand(code) => code,
        }
    }

    /// The exit for a stable problem code, as files, HTTP problems and `ErrorInfo` carry it.
    pub fn for_reason(reason: &str) -> Option<Self> {
        Some(match reason {
            "active" => Self::Ok,
            "not_connected" | "permission_missing" | "reconnect_required" | "revoked" | "consent_denied"
            | "nothing_granted" | "no_refresh_token" | "other_account" | "connected_already"
            | "revoked_meanwhile" | "narrower_grant" | "other_session" => Self::NeedsPerson,
            "provider_unavailable"
            | "rate_limited"
            | "store"
            | "seal_away"
            | "stopping"
            | "shutting_down"
            | "unverified" => Self::TryLater,
            "misconfigured" | "not_declared" | "from_file" | "invalid_key_file" | "invalid_grant_file"
            | "other_client" | "other_issuer" | "unknown_client" | "ambiguous_client" | "not_permitted"
            | "other_owner" | "unauthenticated" | "wrong_pod" => Self::Misconfigured,
            "unknown_capability" | "not_found" | "agent_removed" | "unknown_agent" => Self::NotFound,
            "wrong_user" | super::deadline::UNANSWERED => Self::Unreachable,
            "invalid_request" | "ambiguous" => Self::Usage,
            _ => return None,
        })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command did not do its work. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What the program ends with.
    #[serde(skip)]
    pub exit: Exit,
    /// The stable code of the problem, where it has one.
    #[serde(rename = "code", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
    /// Where a person can fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_url: Option<String>,
}

impl Failure {
    /// A failure without a stable code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            reason: None,
            message: message.into(),
            action_url: None,
        }
    }

    /// The operator has to act.
    pub fn misconfigured(message: impl Into<String>) -> Self {
        Self::new(Exit::Misconfigured, message)
    }

    /// The command line asks for something that cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds the stable code.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into()).filter(|reason| !reason.is_empty());
        self
    }

    /// Adds where a person can fix it; an empty text is none.
    #[must_use]
    pub fn with_action_url(mut self, url: impl Into<String>) -> Self {
        self.action_url = Some(url.into()).filter(|url| !url.is_empty());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What a command ends with.
pub type Outcome = Result<Exit, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_names_every_code() {
        let all = [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Unreachable,
            Exit::NotFound,
            Exit::NeedsPerson,
            Exit::TryLater,
            Exit::Misconfigured,
            Exit::TimedOut,
            Exit::CannotExecute,
            Exit::CommandNotFound,
        ];
        let documented: Vec<u8> = TABLE
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        assert_eq!(documented, all.map(Exit::code));
    }

    #[test]
    fn every_state_has_an_exit() {
        for (reason, code) in [
            ("active", 0),
            ("not_connected", 5),
            ("permission_missing", 5),
            ("reconnect_required", 5),
            ("revoked", 5),
            ("provider_unavailable", 6),
            ("misconfigured", 7),
            ("unknown_capability", 4),
            ("not_declared", 7),
            ("rate_limited", 6),
            ("consent_denied", 5),
            ("from_file", 7),
            ("not_found", 4),
        ] {
            assert_eq!(Exit::for_reason(reason).map(Exit::code), Some(code), "{reason}");
        }
        assert_eq!(Exit::for_reason("something_new"), None);
    }
}
