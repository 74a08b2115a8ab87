//! What renewals read and write of an account: its grant, and the intents to renew it.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::{
    id::IntegrationId,
    store::{Grant, Health, RenewalIntent, RenewalOutcome, StoreError},
    vault::Sealed,
};

use super::{
    column::{self, Unreadable, corrupt, integer, micros},
    fault::Fault,
    tokens,
};

/// Records the intent to renew; returns the grant as it was before.
pub(super) fn begin(
    connection: &Connection,
    id: &IntegrationId,
    now: Timestamp,
) -> Result<Option<Grant>, Fault> {
    let Some((place, mut grant)) = get(connection, id)? else {
        return Ok(None);
    };
    let recorded = connection
        .prepare_cached(
            "INSERT INTO renewals (place, started_at, attempts) VALUES (?, ?, 1) ON CONFLICT DO NOTHING",
        )?
        .execute(params![place, micros(now)])?;
    if recorded == 0 {
        grant.renewal = Some(intent(connection, place, id)?);
        connection
            .prepare_cached("UPDATE renewals SET started_at = ?2, attempts = attempts + 1 WHERE place = ?1")?
            .execute(params![place, micros(now)])?;
    }
    Ok(Some(grant))
}

/// Records what came of a renewal; returns the version after it.
pub(super) fn finish(
    connection: &Connection,
    id: &IntegrationId,
    expected: u64,
    outcome: &RenewalOutcome,
) -> Result<u64, Fault> {
    let (place, version, health) = state(connection, id)?.ok_or(StoreError::Conflict)?;
    if version != expected {
        return Err(StoreError::Conflict.into());
    }
    let changed = outcome.rotated.is_some() || outcome.health != health;
    let version = if changed { version + 1 } else { version };
    let (health, health_reason) = health_columns(&outcome.health);
    connection
        .prepare_cached(
            "UPDATE secrets SET secret = coalesce(?2, secret), health = ?3, health_reason = ?4, version = ?5, \
             obtained_at = coalesce(?6, obtained_at) WHERE place = ?1",
        )?
        .execute(params![
            place,
            outcome.rotated.as_ref().map(Sealed::as_bytes),
            health,
            health_reason,
            integer(version),
            outcome.renewed_at.map(micros),
        ])?;
    connection
        .prepare_cached("DELETE FROM renewals WHERE place = ?")?
        .execute([place])?;
    if outcome.health != Health::Active {
        tokens::forget(connection, id)?;
    }
    if let Some(token) = &outcome.token {
        tokens::put(connection, place, token)?;
    }
    Ok(version)
}

/// An account's grant and its place.
fn get(connection: &Connection, id: &IntegrationId) -> Result<Option<(i64, Grant)>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT place, version, health, health_reason, secret \
         FROM integrations JOIN secrets ON place = number << 16 WHERE id = ?",
    )?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let grant = || {
        Ok(Grant {
            version: column::number(row, "version")?,
            health: health(row)?,
            renewal: None,
            secret: column::sealed(row, "secret")?,
        })
    };
    let grant = grant().map_err(|reason: Unreadable| corrupt(id.as_str(), reason))?;
    Ok(Some((row.get("place")?, grant)))
}

/// What decides whether and how a renewal's outcome is recorded: the grant's place, version and health.
fn state(connection: &Connection, id: &IntegrationId) -> Result<Option<(i64, u64, Health)>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT place, version, health, health_reason \
         FROM integrations JOIN secrets ON place = number << 16 WHERE id = ?",
    )?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let state = || Ok((column::number(row, "version")?, health(row)?));
    let (version, health) = state().map_err(|reason: Unreadable| corrupt(id.as_str(), reason))?;
    Ok(Some((row.get("place")?, version, health)))
}

/// An intent that is there.
fn intent(connection: &Connection, place: i64, id: &IntegrationId) -> Result<RenewalIntent, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT started_at, attempts FROM renewals WHERE place = ?")?;
    let intent = statement.query_row([place], |row| {
        let intent = || {
            Ok(RenewalIntent {
                started_at: column::time(row, "started_at")?,
                attempts: column::number(row, "attempts")?,
            })
        };
        Ok(intent())
    })?;
    Ok(intent.map_err(|reason: Unreadable| corrupt(id.as_str(), reason))?)
}

pub(super) fn health_columns(health: &Health) -> (&'static str, &str) {
    match health {
        Health::Active => ("active", ""),
        Health::ReconnectRequired(reason) => ("reconnect_required", reason),
        Health::Revoked(reason) => ("revoked", reason),
        Health::Disabled(reason) => ("disabled", reason),
        Health::Misconfigured(reason) => ("misconfigured", reason),
    }
}

pub(super) fn health(row: &Row<'_>) -> Result<Health, Unreadable> {
    let reason = || column::text(row, "health_reason").map(str::to_owned);
    match column::text(row, "health")? {
        "active" => Ok(Health::Active),
        "reconnect_required" => reason().map(Health::ReconnectRequired),
        "revoked" => reason().map(Health::Revoked),
        "disabled" => reason().map(Health::Disabled),
        "misconfigured" => reason().map(Health::Misconfigured),
        other => Err(format!("its health `{}` is unknown", other.escape_debug())),
    }
}
