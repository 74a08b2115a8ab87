//! Opens sealed grants.

use crate::{
    id::IntegrationId,
    secret::RefreshToken,
    vault::{Binding, Sealed, Vault},
};

/// Reads a refresh token of `account`.
pub(crate) fn open_refresh_token(
    vault: &Vault,
    id: &IntegrationId,
    secret: &Sealed,
    account: impl Fn() -> String,
) -> Result<RefreshToken, String> {
    let plain = vault
        .open(&Binding::RefreshToken(id), secret)
        .map_err(|error| format!("The grant of {} cannot be opened: {error}", account()))?;
    std::str::from_utf8(&plain)
        .map(RefreshToken::from)
        .map_err(|_| format!("The grant of {} is not text.", account()))
}
