//! Opens sealed grants.

use crate::{
    dpop::ProofKey,
    id::IntegrationId,
    registry::renewal_fault::{ProofKeyFault, SecretFault},
    secret::RefreshToken,
    vault::{Binding, Sealed, Vault},
};

/// Reads a refresh token of `account`.
pub(crate) fn open_refresh_token(
    vault: &Vault,
    id: &IntegrationId,
    secret: &Sealed,
    account: impl Fn() -> String,
) -> Result<RefreshToken, SecretFault> {
    let plain = vault
        .open(&Binding::RefreshToken(id), secret)
        .map_err(|error| SecretFault::GrantSealed {
            account: account(),
            error,
        })?;
    std::str::from_utf8(&plain)
        .map(RefreshToken::from)
        .map_err(|_| SecretFault::GrantNotText { account: account() })
}

/// Reads the key that the grant of `account` is bound to.
pub(crate) fn open_proof_key(
    vault: &Vault,
    id: &IntegrationId,
    secret: &Sealed,
    account: impl Fn() -> String,
) -> Result<ProofKey, SecretFault> {
    let open = || -> Result<ProofKey, ProofKeyFault> {
        let plain = vault.open(&Binding::ProofKey(id), secret)?;
        Ok(ProofKey::from_pkcs8(&plain)?)
    };
    open().map_err(|error| SecretFault::ProofKey {
        account: account(),
        error,
    })
}
