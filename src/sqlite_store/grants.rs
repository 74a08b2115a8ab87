//! What renewals read and write of an account: its grant, and the intents to renew it.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::{
    id::IntegrationId,
    sqlite::{
        bound::{self, Bound},
        column::{self, corrupt, integer, micros},
        fault::Fault,
    },
    sqlite_store::{
        health_column::{health, health_columns},
        lineage, tokens,
    },
    store::{AlteredRemedy, Grant, Health, RecordFault, RenewalIntent, RenewalOutcome, StoreError},
    vault::{Binding, Sealed, Vault},
};

/// A grant as it lies in the database, and where.
struct Stored {
    place: i64,
    generation: i64,
    obtained_at: Option<i64>,
    expires_at: Option<i64>,
    grant: Grant,
}

/// Records the intent to renew; returns the grant as it was before.
pub(super) fn begin(
    connection: &Connection,
    vault: &Vault,
    id: &IntegrationId,
    now: Timestamp,
) -> Result<Option<Grant>, Fault> {
    let Some(Stored { place, mut grant, .. }) = get(connection, vault, id)? else {
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
    let stored = get(connection, vault, id)?.ok_or(StoreError::Conflict)?;
    let Stored {
        place,
        generation,
        ref grant,
        ..
    } = stored;
    if grant.version != expected {
        return Err(StoreError::Conflict.into());
    }
    let changed = outcome.rotated.is_some() || outcome.health != grant.health;
    let version = if changed { grant.version + 1 } else { grant.version };
    let (health, health_reason) = health_columns(&outcome.health);
    let rotated = outcome.rotated.as_ref();
    let rotated = rotated.map(|sealed| vault.current(&Binding::RefreshToken(id), sealed));
    let after = bound::Grant {
        integration: id.as_str(),
        generation,
        version: integer(version),
        health,
        health_reason: &health_reason,
        obtained_at: outcome.renewed_at.map(micros).or(stored.obtained_at),
        expires_at: outcome.grant_expires_at.map(micros).or(stored.expires_at),
        secret: rotated.as_deref().unwrap_or(&grant.secret).as_bytes(),
        proof_key: grant.proof_key.as_ref().map(Sealed::as_bytes),
    };
    connection
        .prepare_cached(
            "UPDATE secrets SET secret = coalesce(?2, secret), health = ?3, health_reason = ?4, version = ?5, \
             obtained_at = ?6, mac = ?7, expires_at = ?8 WHERE place = ?1",
        )?
        .execute(params![
            place,
            rotated.as_deref().map(Sealed::as_bytes),
            after.health,
            after.health_reason,
            after.version,
            after.obtained_at,
            after.mac(vault).as_bytes(),
            after.expires_at,
        ])?;
    connection
        .prepare_cached("DELETE FROM renewals WHERE place = ?")?
        .execute([place])?;
    if outcome.health != Health::Active {
        tokens::forget(connection, id)?;
    }
    if let Some(token) = &outcome.token {
        tokens::put(connection, vault, place, generation, token)?;
        lineage::checked(connection, place >> 16)?;
    }
    Ok(version)
}

/// An account's grant. It is written by nobody else, or it is an error.
fn get(connection: &Connection, vault: &Vault, id: &IntegrationId) -> Result<Option<Stored>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT place, version, health, health_reason, obtained_at, expires_at, secret, proof_key, \
         secrets.generation AS grant_generation, secrets.mac AS grant_mac \
         FROM integrations JOIN secrets ON place = number << 16 AND integration = number WHERE id = ?",
    )?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let unreadable = |reason: RecordFault| corrupt(id.as_str(), reason);
    let bound = bound::Grant::of(row, id.as_str()).map_err(unreadable)?;
    bound
        .verify(vault, column::mac(row, "grant_mac"))
        .map_err(|reason| StoreError::Altered {
            record: id.to_string(),
            reason,
            remedy: AlteredRemedy::Account(id.to_string()),
        })?;
    let grant = || {
        Ok(Grant {
            version: column::number(row, "version")?,
            health: health(row)?,
            renewal: None,
            secret: column::sealed(row, "secret")?,
            proof_key: column::sealed_or_none(row, "proof_key")?,
        })
    };
    Ok(Some(Stored {
        place: row.get("place")?,
        generation: bound.generation,
        obtained_at: bound.obtained_at,
        expires_at: bound.expires_at,
        grant: grant().map_err(unreadable)?,
    }))
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
    Ok(intent.map_err(|reason: RecordFault| corrupt(id.as_str(), reason))?)
}
