//! Opens sealed grants.

use crate::{
    id::IntegrationId,
    registry::renewal_fault::SecretFault,
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
