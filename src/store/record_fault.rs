//! What is wrong with a record, and what can be done about one that is not used.

use std::fmt;

use crate::{
    store::keyring_fault::KeyringFault,
    vault::{MacError, VaultError},
};

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// A column that the row does not have, in the database's words.
    #[error("{0}")]
    NoColumn(String),
    /// A value that the column cannot have.
    #[error("its {column} does not make sense: {error}")]
    Value {
        /// Which column.
        column: String,
        /// What its reader said.
        error: String,
    },
    /// A boot has another form.
    #[error("its boot does not make sense: it has 16 bytes")]
    Boot,
    /// A word for a grant's health that this program does not know.
    #[error("its health `{0}` is unknown")]
    Health(String),
    /// Why its grant does not work is no JSON of a cause: what the reader said.
    #[error("why it does not work cannot be read: {0}")]
    GrantCause(String),
    /// An account without its grant.
    #[error("its grant is missing")]
    NoGrant,
    /// A secret that does not open.
    #[error(transparent)]
    Sealed(#[from] VaultError),
    /// Its MAC does not confirm it.
    #[error(transparent)]
    Mac(#[from] MacError),
    /// A keyring that cannot be used as it is.
    #[error(transparent)]
    Keyring(#[from] KeyringFault),
    /// A line of the audit trail that the line before does not lead to.
    #[error("it does not follow from the line before, or is missing; `audit verify` says more")]
    Unchained,
    /// A line of the audit trail that is gone.
    #[error("it is missing; `audit verify` says more")]
    Missing,
}

/// What to do about a record that somebody else wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlteredRemedy {
    /// An account, by the id that its row says.
    Account(String),
    /// A grant that is still to be revoked, by the id that its row says.
    Revocation(String),
    /// An agent of the API, by the name that its row says.
    Agent(String),
    /// An access token.
    Token,
    /// What an agent proves itself with.
    AgentSecret,
}

impl fmt::Display for AlteredRemedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(
                f,
                "connect that account again, and remove this record with `token-broker integrations disconnect {id}`"
            ),
            Self::Revocation(id) => write!(
                f,
                "the owner can remove the grant at the provider; `token-broker integrations disconnect {id}` removes the \
                 record"
            ),
            Self::Agent(name) => write!(
                f,
                "put the agent again, or remove the record with `token-broker agents remove {name}`"
            ),
            Self::Token => f.write_str("a new one is obtained"),
            Self::AgentSecret => f.write_str("the agent gets a new secret"),
        }
    }
}
