//! An agent's environment as its socket gives it: dotenv lines, read into names and values.

use zeroize::Zeroizing;

use super::{
    agent::AgentSocket,
    agent_status::AgentStatus,
    exit::{Exit, Failure},
};

/// What the daemon sets; a value that was inherited must not outlive the one that is delivered.
pub(crate) const DELIVERED: [&str; 8] = [
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "GOOGLE_OAUTH_TOKEN_EXPIRES_AT",
    "GOOGLE_OAUTH_CAPABILITIES",
    "GOOGLE_SA_ACCESS_TOKEN",
    "GOOGLE_SA_TOKEN_EXPIRES_AT",
    "GOOGLE_SA_EMAIL",
    "TOKEN_BROKER_STATE",
    "TOKEN_BROKER_ACTION_URL",
];

/// The variable that names a credential file; it goes before any metadata server.
pub(crate) const CREDENTIALS: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// The variables of an agent. No `Debug`: they hold its token.
pub(crate) struct Environment(Vec<(String, Zeroizing<String>)>);

impl Environment {
    /// Asks the agent's socket.
    pub(crate) async fn fetch(socket: &AgentSocket) -> Result<Self, Failure> {
        let body = socket.get("/v1/env").await?;
        let text = std::str::from_utf8(&body)
            .map_err(|_| Failure::new(Exit::Failed, "the daemon's environment is not UTF-8"))?;
        Ok(Self::parse(text))
    }

    /// Reads `NAME=value` lines; nothing in them is quoted.
    pub(crate) fn parse(text: &str) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            named.then(|| (name.to_owned(), Zeroizing::new(value.to_owned())))
        };
        Self(text.lines().filter_map(pair).collect())
    }

    /// Names and values, in the daemon's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The tokens in it: a person's, a service account's, or both.
    pub(crate) fn tokens(&self) -> Vec<Zeroizing<String>> {
        let tokens = self
            .0
            .iter()
            .filter(|(name, value)| name.ends_with("_ACCESS_TOKEN") && !value.is_empty());
        tokens.map(|(_, value)| value.clone()).collect()
    }

    /// True when there is a token in it.
    pub(crate) fn has_token(&self) -> bool {
        !self.tokens().is_empty()
    }

    /// Why there is no token, in the daemon's own words.
    pub(crate) async fn why_no_token(socket: &AgentSocket) -> Failure {
        match AgentStatus::fetch(socket).await {
            Ok(status) => status.failure(),
            Err(failure) => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_literally() {
        let environment = Environment::parse(
            "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.a=b\n\n# comment\nTOKEN_BROKER_STATE=active\nbroken\nA B=c\n",
        );
        let lines: Vec<_> = environment.iter().collect();
        assert_eq!(
            lines,
            [
                ("GOOGLE_OAUTH_ACCESS_TOKEN", "ya29.a=b"),
                ("TOKEN_BROKER_STATE", "active")
            ]
        );
        assert!(environment.has_token());
        assert!(!Environment::parse("TOKEN_BROKER_STATE=revoked\n").has_token());
    }
}
