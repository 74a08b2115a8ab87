//! The connected accounts.

use rusqlite::{Connection, OptionalExtension, named_params, params};

use crate::{
    id::{CapabilityKey, IntegrationId},
    sql::{
        Fault,
        bound::Bound,
        column::{self, corrupt, integer},
    },
    store::{IntegrationRecord, StoreError, UnusableRecord},
    tables::accounts::{self, AccountTexts, NewGrant},
    vault::Vault,
};

const INSERT: &str = "INSERT INTO integrations (id, kind, owner, subject, account, former, authority, scopes, declined, connected_at, \
     generation, mac) \
     VALUES (:id, :kind, :owner, :subject, :account, :former, :authority, :scopes, :declined, :connected_at, :generation, \
     :mac)";
const INSERT_GRANT: &str = "INSERT INTO secrets (place, integration, version, health, health_reason, obtained_at, \
     expires_at, secret, proof_key, generation, mac) \
     VALUES (:number << 16, :number, :version, :health, :health_reason, :obtained_at, :expires_at, :secret, :proof_key, \
     :generation, :mac)";

/// Selects accounts with their grants and intents.
fn select(which: &str) -> String {
    format!(
        "SELECT id, kind, owner, subject, account, former, authority, scopes, declined, connected_at, version, health, \
         health_reason, obtained_at, expires_at, secret, proof_key, started_at, attempts, integrations.generation AS generation, \
         integrations.mac AS mac, secrets.generation AS grant_generation, secrets.mac AS grant_mac \
         FROM integrations LEFT JOIN secrets ON secrets.place = number << 16 AND secrets.integration = number \
         LEFT JOIN renewals ON renewals.place = secrets.place {which}"
    )
}

/// Every account, and what is wrong with the rows that are none. An account whose grant somebody else wrote is there, so
/// that its agents are told why they have no token; it has no secret.
pub(super) fn load(
    connection: &Connection,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<IntegrationRecord>, Fault> {
    // The order in which they lie in the file.
    accounts::load(connection, &select("ORDER BY number"), vault, unusable)
}

/// One account.
pub(super) fn get(
    connection: &Connection,
    vault: &Vault,
    id: &IntegrationId,
) -> Result<Option<IntegrationRecord>, Fault> {
    let mut statement = connection.prepare_cached(&select("WHERE id = ?"))?;
    let mut rows = statement.query([id.as_str()])?;
    Ok(rows.next()?.map(|row| accounts::read(row, vault)).transpose()?)
}

/// Adds or replaces an account; returns its version.
pub(super) fn put(
    connection: &Connection,
    vault: &Vault,
    record: &IntegrationRecord,
    replaces: Option<u64>,
) -> Result<u64, Fault> {
    if version(connection, &record.id)? != replaces {
        return Err(StoreError::Conflict.into());
    }
    // Goes with its access tokens, and with its intent to renew.
    delete(connection, &record.id)?;
    let version = next_version(connection)?;
    let texts = AccountTexts::of(record);
    let account = texts.row(record, integer(version));
    connection.prepare_cached(INSERT)?.execute(named_params! {
        ":id": account.id,
        ":kind": account.kind,
        ":owner": account.owner,
        ":subject": account.subject,
        ":account": account.account,
        ":former": account.former,
        ":authority": account.issuer_binding,
        ":scopes": account.scopes,
        ":declined": account.declined,
        ":connected_at": account.connected_at,
        ":generation": account.generation,
        ":mac": account.mac(vault).as_bytes(),
    })?;
    insert_grant(connection, vault, record, account.generation)?;
    Ok(version)
}

/// Adds the grant of the account whose row was added last.
fn insert_grant(
    connection: &Connection,
    vault: &Vault,
    record: &IntegrationRecord,
    generation: i64,
) -> Result<(), Fault> {
    let grant = NewGrant::of(record, vault);
    let grant = grant.row(record, generation);
    connection.prepare_cached(INSERT_GRANT)?.execute(named_params! {
        ":number": connection.last_insert_rowid(),
        ":version": grant.version,
        ":health": grant.health,
        ":health_reason": grant.health_reason,
        ":obtained_at": grant.obtained_at,
        ":expires_at": grant.expires_at,
        ":secret": grant.secret,
        ":proof_key": grant.proof_key,
        ":generation": grant.generation,
        ":mac": grant.mac(vault).as_bytes(),
    })?;
    Ok(())
}

/// Records what the person did not give. False when the account is gone.
pub(super) fn set_declined(
    connection: &Connection,
    vault: &Vault,
    id: &IntegrationId,
    declined: &[CapabilityKey],
) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached("SELECT * FROM integrations WHERE id = ?")?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(false);
    };
    let (declined, mac) = accounts::with_declined(row, vault, declined)?;
    connection
        .prepare_cached("UPDATE integrations SET declined = ?, mac = ? WHERE id = ?")?
        .execute(params![declined, mac, id.as_str()])?;
    Ok(true)
}

/// Deletes an account; its grant and its access tokens go with it.
pub(super) fn delete(connection: &Connection, id: &IntegrationId) -> Result<bool, Fault> {
    connection
        .prepare_cached(
            "UPDATE grant_version SET last = max(last, version) \
             FROM integrations JOIN secrets ON place = number << 16 WHERE id = ?",
        )?
        .execute([id.as_str()])?;
    let deleted = connection
        .prepare_cached("DELETE FROM integrations WHERE id = ?")?
        .execute([id.as_str()])?;
    Ok(deleted > 0)
}

fn version(connection: &Connection, id: &IntegrationId) -> Result<Option<u64>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT version FROM integrations JOIN secrets ON place = number << 16 WHERE id = ?",
    )?;
    let found = statement
        .query_row([id.as_str()], |row| Ok(column::number(row, "version")))
        .optional()?;
    Ok(found.transpose().map_err(|reason| corrupt(id.as_str(), reason))?)
}

/// A version for an account that is not there, higher than any that it may have had.
fn next_version(connection: &Connection) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached("SELECT last + 1 AS next FROM grant_version")?;
    let next = statement.query_row([], |row| Ok(column::number(row, "next")))?;
    Ok(next.map_err(|reason| corrupt("grant_version", reason))?)
}
