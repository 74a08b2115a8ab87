//! Access tokens that are still alive.

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params, params};

use crate::{catalog::ScopeSet, id::IntegrationId, store::TokenRecord};

use super::{
    column::{self, Unreadable, corrupt, micros},
    fault::Fault,
};

/// Every token, and a sentence for each row that is none.
pub(super) fn load(connection: &Connection, problems: &mut Vec<String>) -> Result<Vec<TokenRecord>, Fault> {
    let mut statement = connection.prepare("SELECT * FROM access_tokens ORDER BY integration, requested")?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(record) => records.push(record),
            Err(reason) => {
                let record = format!("access token of {}", column::label(row, "integration"));
                problems.push(corrupt(record, reason).to_string());
            }
        }
    }
    Ok(records)
}

/// Adds a token, or replaces the one that was obtained for the same scopes.
pub(super) fn put(connection: &Connection, token: &TokenRecord) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO access_tokens (integration, requested, granted, issued_at, expires_at, secret) \
             VALUES (:integration, :requested, :granted, :issued_at, :expires_at, :secret) \
             ON CONFLICT DO UPDATE SET granted = excluded.granted, issued_at = excluded.issued_at, \
             expires_at = excluded.expires_at, secret = excluded.secret",
        )?
        .execute(named_params! {
            ":integration": token.integration.as_str(),
            ":requested": token.requested.to_string(),
            ":granted": token.granted.to_string(),
            ":issued_at": micros(token.issued_at),
            ":expires_at": micros(token.expires_at),
            ":secret": token.secret.as_bytes(),
        })?;
    Ok(())
}

/// Deletes the account's expired tokens but that for `renewed`: those whose scopes no agent asks for any more
/// would stay for ever.
pub(super) fn purge(
    connection: &Connection,
    id: &IntegrationId,
    renewed: &ScopeSet,
    now: Timestamp,
) -> Result<(), Fault> {
    // The scopes are in the index: most accounts have one token, whose row is then not looked at.
    connection
        .prepare_cached(
            "DELETE FROM access_tokens WHERE integration = ? AND requested <> ? AND expires_at <= ?",
        )?
        .execute(params![id.as_str(), renewed.to_string(), micros(now)])?;
    Ok(())
}

/// Deletes all of the account's tokens.
pub(super) fn forget(connection: &Connection, id: &IntegrationId) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM access_tokens WHERE integration = ?")?
        .execute([id.as_str()])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<TokenRecord, Unreadable> {
    Ok(TokenRecord {
        integration: column::parsed(row, "integration")?,
        requested: column::scopes(row, "requested")?,
        granted: column::scopes(row, "granted")?,
        issued_at: column::time(row, "issued_at")?,
        expires_at: column::time(row, "expires_at")?,
        secret: column::sealed(row, "secret")?,
    })
}
