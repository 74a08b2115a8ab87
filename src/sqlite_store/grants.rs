//! What renewals read and write of an account: its grant, and the intents to renew it.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::{
    id::IntegrationId,
    sql::{
        Fault,
        column::{integer, micros},
    },
    sqlite_store::{lineage, tokens},
    store::{Grant, Health, RenewalIntent, RenewalOutcome, StoreError},
    tables::grants::{self, StoredGrant},
    vault::{Sealed, Vault},
};

/// Records the intent to renew; returns the grant as it was before.
pub(super) fn begin(
    connection: &Connection,
    vault: &Vault,
    id: &IntegrationId,
    now: Timestamp,
) -> Result<Option<Grant>, Fault> {
    let Some((place, StoredGrant { mut grant, .. })) = get(connection, vault, id)? else {
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

/// Records the outcome of a renewal; returns the version after it.
pub(super) fn finish(
    connection: &Connection,
    vault: &Vault,
    id: &IntegrationId,
    expected: u64,
    outcome: &RenewalOutcome,
) -> Result<u64, Fault> {
    let (place, stored) = get(connection, vault, id)?.ok_or(StoreError::Conflict)?;
    let after = stored.renewed(vault, id, expected, outcome)?;
    connection
        .prepare_cached(
            "UPDATE secrets SET secret = coalesce(?2, secret), health = ?3, health_reason = ?4, version = ?5, \
             obtained_at = ?6, mac = ?7, expires_at = ?8 WHERE place = ?1",
        )?
        .execute(params![
            place,
            after.rotated.as_deref().map(Sealed::as_bytes),
            after.health,
            after.health_reason,
            integer(after.version),
            after.obtained_at,
            after.mac,
            after.expires_at,
        ])?;
    connection
        .prepare_cached("DELETE FROM renewals WHERE place = ?")?
        .execute([place])?;
    if outcome.health != Health::Active {
        tokens::forget(connection, id)?;
    }
    if let Some(token) = &outcome.token {
        tokens::put(connection, vault, place, stored.generation, token)?;
        lineage::checked(connection, place >> 16)?;
    }
    Ok(after.version)
}

/// An account's grant, and where it lies. It is written by nobody else, or it is an error.
fn get(
    connection: &Connection,
    vault: &Vault,
    id: &IntegrationId,
) -> Result<Option<(i64, StoredGrant)>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT place, version, health, health_reason, obtained_at, expires_at, secret, proof_key, \
         secrets.generation AS grant_generation, secrets.mac AS grant_mac \
         FROM integrations JOIN secrets ON place = number << 16 AND integration = number WHERE id = ?",
    )?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some((row.get("place")?, StoredGrant::read(row, vault, id)?)))
}

/// An intent that is there.
fn intent(connection: &Connection, place: i64, id: &IntegrationId) -> Result<RenewalIntent, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT started_at, attempts FROM renewals WHERE place = ?")?;
    let intent = statement.query_row([place], |row| Ok(grants::intent(row, id)))?;
    Ok(intent?)
}
