//! The connected accounts.

use crate::{
    id::{CapabilityKey, IntegrationId},
    sql::{
        Fault, Sql,
        bound::Bound,
        column::{self, corrupt, integer},
        values,
    },
    store::{IntegrationRecord, StoreError, UnusableRecord},
    tables::accounts::{self, AccountTexts, NewGrant},
    vault::Vault,
};

const INSERT: &str = "INSERT INTO integrations (id, kind, owner, subject, account, former, authority, scopes, declined, \
                      connected_at, epoch, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) RETURNING number";
const INSERT_GRANT: &str = "INSERT INTO grants (integration, epoch, generation, health, health_reason, obtained_at, expires_at, \
                            secret, proof_key, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// Selects accounts with their grants and intents.
fn select(which: &str) -> String {
    format!(
        "SELECT id, kind, owner, subject, account, former, authority, scopes, declined, connected_at, \
         grants.generation AS version, health, health_reason, obtained_at, expires_at, secret, proof_key, started_at, attempts, \
         integrations.epoch AS generation, integrations.mac AS mac, grants.epoch AS grant_generation, grants.mac AS grant_mac \
         FROM integrations LEFT JOIN grants ON integration = number {which}"
    )
}

/// Every account, and what is wrong with the rows that are none.
pub(super) fn load(
    sql: &dyn Sql,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<IntegrationRecord>, Fault> {
    accounts::load(sql, &select("ORDER BY number"), vault, unusable)
}

/// One account.
pub(super) fn get(
    sql: &dyn Sql,
    vault: &Vault,
    id: &IntegrationId,
) -> Result<Option<IntegrationRecord>, Fault> {
    sql.one(&select("WHERE id = ?1"), values![id.as_str()], |row| {
        Ok(accounts::read(row, vault)?)
    })
}

/// The same, which nobody else changes before the transaction ends.
pub(super) fn take(
    sql: &dyn Sql,
    vault: &Vault,
    id: &IntegrationId,
) -> Result<Option<IntegrationRecord>, Fault> {
    lock(sql, id)?;
    get(sql, vault, id)
}

/// Waits until nobody else changes the account. `None` where it is not there; its generation where that can be read.
fn lock(sql: &dyn Sql, id: &IntegrationId) -> Result<Option<u64>, Fault> {
    sql.one(
        "SELECT grants.generation AS version FROM integrations JOIN grants ON integration = number WHERE id = ?1 FOR UPDATE",
        values![id.as_str()],
        |row| Ok(column::number(row, "version").map_err(|reason| corrupt(id.as_str(), reason))?),
    )
}

/// Adds or replaces an account; returns its version.
pub(super) fn put(
    sql: &dyn Sql,
    vault: &Vault,
    record: &IntegrationRecord,
    replaces: Option<u64>,
) -> Result<u64, Fault> {
    if lock(sql, &record.id)? != replaces {
        return Err(StoreError::Conflict.into());
    }
    // Goes with its access tokens, and with its intent to renew.
    delete(sql, &record.id)?;
    let version = next_version(sql)?;
    let texts = AccountTexts::of(record);
    let account = texts.row(record, integer(version));
    let number = sql.number(
        INSERT,
        values![
            account.id,
            account.kind,
            account.owner,
            account.subject,
            account.account,
            account.former,
            account.issuer_binding,
            account.scopes,
            account.declined,
            account.connected_at,
            account.generation,
            account.mac(vault).as_bytes(),
        ],
    )?;
    let grant = NewGrant::of(record, vault);
    let grant = grant.row(record, account.generation);
    sql.execute(
        INSERT_GRANT,
        values![
            number,
            grant.generation,
            grant.version,
            grant.health,
            grant.health_reason,
            grant.obtained_at,
            grant.expires_at,
            grant.secret,
            grant.proof_key,
            grant.mac(vault).as_bytes(),
        ],
    )?;
    Ok(version)
}

/// A version for an account that is not there, higher than any that it may have had.
fn next_version(sql: &dyn Sql) -> Result<u64, Fault> {
    let last = sql.number("SELECT last FROM grant_version FOR UPDATE", &[])?;
    Ok(last.unwrap_or_default().unsigned_abs() + 1)
}

/// Records what the person did not give. False when the account is gone.
pub(super) fn set_declined(
    sql: &dyn Sql,
    vault: &Vault,
    id: &IntegrationId,
    declined: &[CapabilityKey],
) -> Result<bool, Fault> {
    let changed = sql.one(
        "SELECT id, kind, owner, subject, account, former, authority, scopes, declined, connected_at, epoch AS generation, mac \
         FROM integrations WHERE id = ?1 FOR UPDATE",
        values![id.as_str()],
        |row| Ok(accounts::with_declined(row, vault, declined)?),
    )?;
    let Some((declined, mac)) = changed else {
        return Ok(false);
    };
    sql.execute(
        "UPDATE integrations SET declined = ?1, mac = ?2 WHERE id = ?3",
        values![&declined, mac.as_slice(), id.as_str()],
    )?;
    Ok(true)
}

/// Deletes an account; its grant and its access tokens go with it.
pub(super) fn delete(sql: &dyn Sql, id: &IntegrationId) -> Result<bool, Fault> {
    sql.execute(
        "UPDATE grant_version SET last = greatest(last, generation) \
         FROM integrations JOIN grants ON integration = number WHERE id = ?1",
        values![id.as_str()],
    )?;
    let deleted = sql.execute("DELETE FROM integrations WHERE id = ?1", values![id.as_str()])?;
    Ok(deleted > 0)
}
