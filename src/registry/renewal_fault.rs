//! Why there is no new token, as data. What is said of it is in `policy::fault_sentences`.

use std::sync::Arc;

use crate::{
    cause::GrantCause,
    dpop::NotAKey,
    id::ProviderId,
    provider::{InvalidKeyFile, ProviderFault},
    store::StoreError,
    vault::VaultError,
};

/// Why there is no new token. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RenewalFault {
    /// The provider gave none.
    Provider(ProviderFault),
    /// The provider did not accept the grant, and gave another one with its answer.
    GrantReplaced(ProviderFault),
    /// The account as a whole cannot be used.
    Account(AccountFault),
    /// The grant or the key cannot be opened.
    Secret(SecretFault),
    /// The database does not take the intent to renew.
    IntentNotStored(Arc<StoreError>),
    /// The database does not take the grant that came with an answer.
    GrantNotStored {
        /// Who gave it.
        provider: String,
        /// Why not.
        error: Arc<StoreError>,
    },
    /// The account is not what it was.
    AccountChanged,
    /// The daemon is ending.
    Ending,
    /// It ended without saying how.
    Interrupted,
}

/// Why an account as a whole cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccountFault {
    /// The daemon is not configured for its provider.
    UnknownProvider {
        /// The account.
        account: String,
        /// Its provider.
        provider: ProviderId,
    },
    /// It belongs to another OAuth client or token endpoint than the provider's.
    OtherBinding {
        /// The account.
        account: String,
        /// It is one of a key.
        keyed: bool,
        /// What it belongs to.
        found: Arc<str>,
        /// What the daemon is configured for.
        configured: Arc<str>,
    },
    /// Its grant does not work.
    Grant {
        /// Why not.
        cause: Box<GrantCause>,
        /// Whose grant it is.
        provider: ProviderId,
    },
}

/// Why what is kept of a grant or key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretFault {
    /// A grant does not open.
    GrantSealed {
        /// The account.
        account: String,
        /// Why not.
        error: VaultError,
    },
    /// A grant is not text.
    GrantNotText {
        /// The account.
        account: String,
    },
    /// The key that a grant is bound to cannot be used.
    ProofKey {
        /// The account.
        account: String,
        /// Why not.
        error: ProofKeyFault,
    },
    /// A key does not open.
    Key {
        /// The account.
        account: String,
        /// Why not.
        error: KeyFault,
    },
}

/// Why the key that a grant is bound to cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProofKeyFault {
    /// It is sealed with something else.
    #[error(transparent)]
    Sealed(#[from] VaultError),
    /// It is no key.
    #[error("{0}; restore it from a backup, or connect the account again")]
    NotAKey(#[from] NotAKey),
}

/// Why a key does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyFault {
    /// It is sealed with something else.
    #[error(transparent)]
    Sealed(#[from] VaultError),
    /// It is not text.
    #[error(transparent)]
    NotText(#[from] std::str::Utf8Error),
    /// It is no key.
    #[error(transparent)]
    File(#[from] InvalidKeyFile),
}
