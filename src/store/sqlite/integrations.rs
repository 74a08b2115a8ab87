//! The connected accounts and their renewals.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use crate::{
    catalog::IntegrationKind,
    id::{CapabilityKey, IntegrationId},
    store::{Health, IntegrationRecord, RenewalIntent, RenewalOutcome, StoreError},
};

use super::{
    column::{self, Unreadable, corrupt, integer, micros},
    fault::Fault,
    tokens,
};

const ALL: &str = "SELECT integrations.*, started_at, attempts \
     FROM integrations LEFT JOIN renewals ON integration = id ORDER BY id";
const ONE: &str = "SELECT integrations.*, started_at, attempts \
     FROM integrations LEFT JOIN renewals ON integration = id WHERE id = ?";
const INSERT: &str = "INSERT INTO integrations (id, kind, owner, subject, account, authority, scopes, health, \
     health_reason, version, connected_at, renewed_at, grant_expires_at, secret, declined) \
     VALUES (:id, :kind, :owner, :subject, :account, :authority, :scopes, :health, :health_reason, :version, \
     :connected_at, :renewed_at, :grant_expires_at, :secret, :declined)";

/// Every account, and a sentence for each row that is none.
pub(super) fn load(
    connection: &Connection,
    problems: &mut Vec<String>,
) -> Result<Vec<IntegrationRecord>, Fault> {
    let mut statement = connection.prepare(ALL)?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(record) => records.push(record),
            Err(error) => problems.push(error.to_string()),
        }
    }
    Ok(records)
}

/// One account.
pub(super) fn get(connection: &Connection, id: &IntegrationId) -> Result<Option<IntegrationRecord>, Fault> {
    let mut statement = connection.prepare_cached(ONE)?;
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
    let (health, health_reason) = health_columns(&record.health);
    connection.prepare_cached(INSERT)?.execute(named_params! {
        ":id": record.id.as_str(),
        ":kind": record.kind.as_str(),
        ":owner": record.owner.as_str(),
        ":subject": record.subject,
        ":account": record.account,
        ":authority": record.authority,
        ":scopes": record.scopes.to_string(),
        ":health": health,
        ":health_reason": health_reason,
        ":version": integer(version),
        ":connected_at": micros(record.connected_at),
        ":renewed_at": record.renewed_at.map(micros),
        ":grant_expires_at": record.grant_expires_at.map(micros),
        ":secret": record.secret.as_bytes(),
        ":declined": keys_column(&record.declined),
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

/// Deletes an account; its access tokens go with it.
pub(super) fn delete(connection: &Connection, id: &IntegrationId) -> Result<bool, Fault> {
    let deleted = connection
        .prepare_cached("DELETE FROM integrations WHERE id = ?")?
        .execute([id.as_str()])?;
    Ok(deleted > 0)
}

/// Records the intent to renew; returns the account as it was before.
pub(super) fn begin_renewal(
    connection: &Connection,
    id: &IntegrationId,
    now: Timestamp,
) -> Result<Option<IntegrationRecord>, Fault> {
    let before = get(connection, id)?;
    if before.is_some() {
        connection
            .prepare_cached(
                "INSERT INTO renewals (integration, started_at, attempts) VALUES (?, ?, 1) ON CONFLICT DO UPDATE \
                 SET started_at = excluded.started_at, attempts = attempts + 1",
            )?
            .execute(params![id.as_str(), micros(now)])?;
    }
    Ok(before)
}

/// Records what came of a renewal; returns the version after it.
pub(super) fn finish_renewal(
    connection: &Connection,
    id: &IntegrationId,
    expected: u64,
    outcome: &RenewalOutcome,
) -> Result<u64, Fault> {
    let (version, health) = state(connection, id)?.ok_or(StoreError::Conflict)?;
    if version != expected {
        return Err(StoreError::Conflict.into());
    }
    let version = if outcome.rotated.is_some() || outcome.health != health {
        next_version(connection)?
    } else {
        expected
    };
    let (health, health_reason) = health_columns(&outcome.health);
    connection
        .prepare_cached(
            "UPDATE integrations SET secret = coalesce(:secret, secret), health = :health, \
             health_reason = :health_reason, version = :version, renewed_at = coalesce(:renewed_at, renewed_at) \
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":secret": outcome.rotated.as_ref().map(crate::vault::Sealed::as_bytes),
            ":health": health,
            ":health_reason": health_reason,
            ":version": integer(version),
            ":renewed_at": outcome.renewed_at.map(micros),
            ":id": id.as_str(),
        })?;
    connection
        .prepare_cached("DELETE FROM renewals WHERE integration = ?")?
        .execute([id.as_str()])?;
    if outcome.health != Health::Active {
        tokens::forget(connection, id)?;
    }
    if let Some(token) = &outcome.token {
        tokens::put(connection, token)?;
        tokens::purge(connection, id, &token.requested, token.issued_at)?;
    }
    Ok(version)
}

fn version(connection: &Connection, id: &IntegrationId) -> Result<Option<u64>, Fault> {
    let mut statement = connection.prepare_cached("SELECT id, version FROM integrations WHERE id = ?")?;
    let found = statement
        .query_row([id.as_str()], |row| Ok(column::number(row, "version")))
        .optional()?;
    Ok(found.transpose().map_err(|reason| corrupt(id.as_str(), reason))?)
}

/// What decides whether and how a renewal's outcome is recorded.
fn state(connection: &Connection, id: &IntegrationId) -> Result<Option<(u64, Health)>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT version, health, health_reason FROM integrations WHERE id = ?")?;
    let found = statement
        .query_row([id.as_str()], |row| {
            let state = || {
                let health = health(column::text(row, "health")?, column::text(row, "health_reason")?)?;
                Ok((column::number(row, "version")?, health))
            };
            Ok(state())
        })
        .optional()?;
    Ok(found
        .transpose()
        .map_err(|reason: Unreadable| corrupt(id.as_str(), reason))?)
}

fn next_version(connection: &Connection) -> Result<u64, Fault> {
    // Two steps, for RETURNING makes a table of its own each time.
    connection
        .prepare_cached("UPDATE grant_version SET last = last + 1")?
        .execute([])?;
    let mut statement = connection.prepare_cached("SELECT last FROM grant_version")?;
    let next = statement.query_row([], |row| Ok(column::number(row, "last")))?;
    Ok(next.map_err(|reason| corrupt("grant_version", reason))?)
}

fn read(row: &Row<'_>) -> Result<IntegrationRecord, StoreError> {
    read_columns(row).map_err(|reason| corrupt(column::label(row, "id"), reason))
}

fn read_columns(row: &Row<'_>) -> Result<IntegrationRecord, Unreadable> {
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
        health: health(column::text(row, "health")?, column::text(row, "health_reason")?)?,
        version: column::number(row, "version")?,
        connected_at: column::time(row, "connected_at")?,
        renewed_at: column::time_or_none(row, "renewed_at")?,
        grant_expires_at: column::time_or_none(row, "grant_expires_at")?,
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

fn health_columns(health: &Health) -> (&'static str, &str) {
    match health {
        Health::Active => ("active", ""),
        Health::ReconnectRequired(reason) => ("reconnect_required", reason),
        Health::Revoked(reason) => ("revoked", reason),
        Health::Disabled(reason) => ("disabled", reason),
        Health::Misconfigured(reason) => ("misconfigured", reason),
    }
}

fn health(name: &str, reason: &str) -> Result<Health, Unreadable> {
    match name {
        "active" => Ok(Health::Active),
        "reconnect_required" => Ok(Health::ReconnectRequired(reason.to_owned())),
        "revoked" => Ok(Health::Revoked(reason.to_owned())),
        "disabled" => Ok(Health::Disabled(reason.to_owned())),
        "misconfigured" => Ok(Health::Misconfigured(reason.to_owned())),
        other => Err(format!("its health `{}` is unknown", other.escape_debug())),
    }
}
