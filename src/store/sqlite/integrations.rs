//! The connected accounts.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params, types::ValueRef};

use crate::{
    catalog::IntegrationKind,
    id::{CapabilityKey, IntegrationId},
    store::{IntegrationRecord, RenewalIntent, StoreError},
};

use super::{
    column::{self, Unreadable, corrupt, integer, micros},
    fault::Fault,
    grants::{health, health_columns},
    rows,
};

const INSERT: &str = "INSERT INTO integrations (id, kind, owner, subject, account, authority, scopes, declined, connected_at) \
     VALUES (:id, :kind, :owner, :subject, :account, :authority, :scopes, :declined, :connected_at)";
const INSERT_GRANT: &str = "INSERT INTO secrets (place, integration, version, health, health_reason, obtained_at, \
     expires_at, secret) \
     VALUES (:number << 16, :number, :version, :health, :health_reason, :obtained_at, :expires_at, :secret)";

/// Selects accounts with their grants and intents.
fn select(which: &str) -> String {
    format!(
        "SELECT id, kind, owner, subject, account, authority, scopes, declined, connected_at, version, health, health_reason, \
         obtained_at, expires_at, secret, started_at, attempts \
         FROM integrations LEFT JOIN secrets ON secrets.place = number << 16 \
         LEFT JOIN renewals ON renewals.place = secrets.place {which}"
    )
}

/// Every account, and a sentence for each row that is none.
pub(super) fn load(
    connection: &Connection,
    problems: &mut Vec<String>,
) -> Result<Vec<IntegrationRecord>, Fault> {
    // The order in which they lie in the file.
    rows::load(connection, &select("ORDER BY number"), problems, read)
}

/// One account.
pub(super) fn get(connection: &Connection, id: &IntegrationId) -> Result<Option<IntegrationRecord>, Fault> {
    let mut statement = connection.prepare_cached(&select("WHERE id = ?"))?;
    let mut rows = statement.query([id.as_str()])?;
    Ok(rows.next()?.map(read).transpose()?)
}

/// Adds or replaces an account; returns its version.
pub(super) fn put(
    connection: &Connection,
    record: &IntegrationRecord,
    replaces: Option<u64>,
) -> Result<u64, Fault> {
    if version(connection, &record.id)? != replaces {
        return Err(StoreError::Conflict.into());
    }
    // Goes with its access tokens, and with its intent to renew.
    delete(connection, &record.id)?;
    let version = next_version(connection)?;
    connection.prepare_cached(INSERT)?.execute(named_params! {
        ":id": record.id.as_str(),
        ":kind": record.kind.as_str(),
        ":owner": record.owner.as_str(),
        ":subject": record.subject,
        ":account": record.account,
        ":authority": record.authority,
        ":scopes": record.scopes.to_string(),
        ":declined": keys_column(&record.declined),
        ":connected_at": micros(record.connected_at),
    })?;
    let (health, health_reason) = health_columns(&record.health);
    connection.prepare_cached(INSERT_GRANT)?.execute(named_params! {
        ":number": connection.last_insert_rowid(),
        ":version": integer(version),
        ":health": health,
        ":health_reason": health_reason,
        ":obtained_at": record.renewed_at.map(micros),
        ":expires_at": record.grant_expires_at.map(micros),
        ":secret": record.secret.as_bytes(),
    })?;
    Ok(version)
}

/// Records what the person did not give. False when the account is gone.
pub(super) fn set_declined(
    connection: &Connection,
    id: &IntegrationId,
    declined: &[CapabilityKey],
) -> Result<bool, Fault> {
    let changed = connection
        .prepare_cached("UPDATE integrations SET declined = ? WHERE id = ?")?
        .execute(params![keys_column(declined), id.as_str()])?;
    Ok(changed > 0)
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

fn read(row: &Row<'_>) -> Result<IntegrationRecord, StoreError> {
    read_columns(row).map_err(|reason| corrupt(column::label(row, "id"), reason))
}

fn read_columns(row: &Row<'_>) -> Result<IntegrationRecord, Unreadable> {
    if row.get_ref("secret").is_ok_and(|secret| secret == ValueRef::Null) {
        return Err("its grant is missing".to_owned());
    }
    let renewal = match column::time_or_none(row, "started_at")? {
        Some(started_at) => Some(RenewalIntent {
            started_at,
            attempts: column::number(row, "attempts")?,
        }),
        None => None,
    };
    Ok(IntegrationRecord {
        id: column::parsed(row, "id")?,
        kind: kind(column::text(row, "kind")?)?,
        owner: column::parsed(row, "owner")?,
        subject: column::text(row, "subject")?.to_owned(),
        account: column::text(row, "account")?.to_owned(),
        authority: column::text(row, "authority")?.into(),
        scopes: column::scopes(row, "scopes")?,
        health: health(row)?,
        version: column::number(row, "version")?,
        connected_at: column::time(row, "connected_at")?,
        renewed_at: column::time_or_none(row, "obtained_at")?,
        grant_expires_at: column::time_or_none(row, "expires_at")?,
        renewal,
        secret: column::sealed(row, "secret")?,
        declined: column::keys(row, "declined")?,
    })
}

fn kind(name: &str) -> Result<IntegrationKind, Unreadable> {
    [IntegrationKind::Google, IntegrationKind::GoogleServiceAccount]
        .into_iter()
        .find(|kind| kind.as_str() == name)
        .ok_or_else(|| format!("its kind `{}` is unknown", name.escape_debug()))
}

fn keys_column(keys: &[CapabilityKey]) -> String {
    keys.iter()
        .map(CapabilityKey::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}
