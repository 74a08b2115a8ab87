//! What a provider says of itself to people and to agents, as data.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use super::help_topics::HelpTopics;
use crate::id::ProviderId;

/// The words, names and addresses by which people and agents know a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The key by which manifests, commands and messages name it: `google`.
    pub id: ProviderId,
    /// Who runs it: `Google`.
    pub name: String,
    /// What one of its accounts is called: `Google account`.
    pub account: String,
    /// One that is not known: `a Google account`.
    pub any_account: String,
    /// Several of them: `Google accounts`.
    pub accounts: String,
    /// What an agent that has no such account lacks: `a person's Google account`.
    pub described: String,
    /// The field of a manifest that names one of an owner's accounts by its address: `account`.
    pub account_field: AccountField,
    /// The lines of `env` that are its tokens'.
    pub env: EnvNames,
    /// What a consent that was declined may be due to, and what to do.
    pub declined: String,
    /// The pages that explain what goes wrong there.
    pub topics: &'static HelpTopics,
    /// What the provider's own page may have said where nobody came back from it.
    pub unanswered: String,
    /// Google's own libraries take its tokens: what they ask for is answered with them, and with no other provider's.
    pub serves_google_libraries: bool,
    /// How accounts come here.
    pub origin: Origin,
}

/// The field of manifests and of `status.json` that holds an account's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountField {
    /// `account`.
    Account,
    /// `service_account`.
    ServiceAccount,
    /// `accounts`, under the provider's id.
    Accounts(ProviderId),
}

impl fmt::Display for AccountField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => f.write_str("account"),
            Self::ServiceAccount => f.write_str("service_account"),
            Self::Accounts(provider) => write!(f, "accounts.{provider}"),
        }
    }
}

/// Names of environment variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvNames {
    /// Of the access token.
    pub access_token: String,
    /// Of the moment when it ends.
    pub expires_at: String,
    /// Of the list of capabilities.
    pub capabilities: Listed,
    /// Of the account's address.
    pub account: Option<String>,
}

/// Where it is told what a token serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Listed {
    /// In a variable of this name.
    In(String),
    /// In that of another provider, where the agent has something of it.
    With(ProviderId),
    /// Where this version does not know: a newer one says so.
    Elsewhere,
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Known {
            In(String),
            With(ProviderId),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Told {
            Known(Known),
            Else(IgnoredAny),
        }
        Ok(match Told::deserialize(from)? {
            Told::Known(Known::In(name)) => Self::In(name),
            Told::Known(Known::With(provider)) => Self::With(provider),
            Told::Else(_) => Self::Elsewhere,
        })
    }
}

impl Listed {
    /// The variable's name, where there is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::In(name) => Some(name),
            Self::With(_) | Self::Elsewhere => None,
        }
    }
}

impl EnvNames {
    /// All of them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let always = [self.access_token.as_str(), self.expires_at.as_str()].into_iter();
        always
            .chain(self.capabilities.name())
            .chain(self.account.as_deref())
    }

    /// `PREFIX_OAUTH_ACCESS_TOKEN` and its like.
    pub fn oauth(prefix: &str) -> Self {
        Self {
            access_token: format!("{prefix}_OAUTH_ACCESS_TOKEN"),
            expires_at: format!("{prefix}_OAUTH_TOKEN_EXPIRES_AT"),
            capabilities: Listed::In(format!("{prefix}_OAUTH_CAPABILITIES")),
            account: None,
        }
    }
}

/// How a provider's accounts come here, which decides who can mend what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A person consents.
    Consent {
        /// Where the person sees and removes what was allowed, where the provider has such a page.
        connections: Option<String>,
    },
    /// The operator adds a key.
    Key {
        /// With this command.
        command: String,
        /// What has to happen before a key may be used for more.
        allowing: String,
        /// Where keys are made and deleted.
        made_at: String,
    },
}

impl Origin {
    /// Where the person sees and removes what was allowed, or the operator deletes keys, where that is known.
    pub fn connections(&self) -> Option<&str> {
        match self {
            Self::Consent { connections } => connections.as_deref(),
            Self::Key { made_at, .. } => Some(made_at),
        }
    }

    /// True where a person consents, and so can mend what a consent mends.
    pub fn is_consent(&self) -> bool {
        matches!(self, Self::Consent { .. })
    }
}
