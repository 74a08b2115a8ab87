//! What renewals read and write of an account: its grant, and the intent to renew it.

use jiff::Timestamp;

use crate::{
    id::IntegrationId,
    postgres_store::tokens,
    sql::{
        Fault, Sql,
        column::{self, corrupt, integer, micros},
        values,
    },
    store::{Grant, Health, RenewalOutcome, StoreError},
    tables::grants::{self, StoredGrant},
    vault::{Sealed, Vault},
};

/// The columns of a grant, by the names that its reader knows.
const COLUMNS: &str = "integration, grants.epoch AS grant_generation, grants.generation AS version, health, health_reason, \
                       obtained_at, expires_at, secret, proof_key, grants.mac AS grant_mac, started_at, attempts";

/// Records the intent to renew, and who is to; returns the grant as it was before.
pub(super) fn begin(
    sql: &dyn Sql,
    vault: &Vault,
    (id, broker): (&IntegrationId, &str),
    now: Timestamp,
) -> Result<Option<Grant>, Fault> {
    let statement = format!(
        "WITH old AS (SELECT {COLUMNS} FROM grants JOIN integrations ON number = integration WHERE id = ?1 FOR UPDATE OF grants), \
         taken AS (UPDATE grants SET started_at = ?2, attempts = coalesce(grants.attempts, 0) + 1, holder = ?3, \
         fence = fence + 1, lease_until = clock_timestamp() + interval '30 seconds' \
         FROM old WHERE grants.integration = old.integration) SELECT * FROM old"
    );
    sql.one(&statement, values![id.as_str(), micros(now), broker], |row| {
        let mut grant = StoredGrant::read(row, vault, id)?.grant;
        let begun = column::time_or_none(row, "started_at").map_err(|reason| corrupt(id.as_str(), reason))?;
        if begun.is_some() {
            grant.renewal = Some(grants::intent(row, id)?);
        }
        Ok(grant)
    })
}

/// Records the outcome of a renewal; returns the version after it. What it replaces has to be what the renewal began with, and to be
/// of the same connection.
pub(super) fn finish(
    sql: &dyn Sql,
    vault: &Vault,
    id: &IntegrationId,
    expected: u64,
    outcome: &RenewalOutcome,
) -> Result<u64, Fault> {
    let statement = format!(
        "SELECT {COLUMNS} FROM grants JOIN integrations ON number = integration WHERE id = ?1 FOR UPDATE OF grants"
    );
    let found = sql.one(&statement, values![id.as_str()], |row| {
        let account: i64 =
            column::number(row, "integration").map_err(|reason| corrupt(id.as_str(), reason))?;
        Ok((account, StoredGrant::read(row, vault, id)?))
    })?;
    let (account, stored) = found.ok_or(StoreError::Conflict)?;
    let after = stored.renewed(vault, id, expected, outcome)?;
    let changed = sql.execute(
        "UPDATE grants SET secret = coalesce(?2, secret), health = ?3, health_reason = ?4, generation = ?5, obtained_at = ?6, \
         mac = ?7, expires_at = ?8, started_at = NULL, attempts = NULL, holder = NULL, lease_until = NULL \
         WHERE integration = ?1 AND generation = ?9 AND epoch = ?10",
        values![
            account,
            after.rotated.as_deref().map(Sealed::as_bytes),
            after.health,
            after.health_reason.as_ref(),
            integer(after.version),
            after.obtained_at,
            after.mac.as_slice(),
            after.expires_at,
            integer(expected),
            stored.generation,
        ],
    )?;
    if changed == 0 {
        return Err(StoreError::Conflict.into());
    }
    if outcome.health != Health::Active {
        tokens::forget(sql, id)?;
    }
    if let Some(token) = &outcome.token {
        tokens::put(sql, vault, (account, stored.generation), token)?;
    }
    Ok(after.version)
}
