//! Access tokens that are still alive.

use rusqlite::{Connection, params};

use crate::{
    id::IntegrationId,
    sql::{Fault, bound::Bound, column::micros},
    store::{TokenRecord, UnusableRecord},
    tables::tokens::{self, NewToken},
    vault::Vault,
};

/// How many places an account has: one for its grant, the others for its access tokens.
const PLACES: i64 = 1 << 16;

/// Every token, and what is wrong with the rows that are none.
pub(super) fn load(
    connection: &Connection,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<TokenRecord>, Fault> {
    let select = "SELECT id, integrations.generation AS generation, requested, granted, obtained_at, boot, obtained_uptime, \
         expires_at, secret, secrets.mac AS mac \
         FROM secrets LEFT JOIN integrations ON number = place >> 16 AND number = integration WHERE requested IS NOT NULL ORDER BY place";
    tokens::load(connection, select, vault, unusable)
}

/// Adds a token of the account whose grant has this place and generation, or replaces the one that was obtained for the
/// same scopes. The account's other tokens that have expired by then go: those whose scopes no agent asks for any more
/// would stay for ever.
pub(super) fn put(
    connection: &Connection,
    vault: &Vault,
    grant: i64,
    generation: i64,
    token: &TokenRecord,
) -> Result<(), Fault> {
    let kept = NewToken::of(token, vault);
    let bound = kept.row(generation);
    let place = make_room(connection, grant, bound.requested, token)?;
    connection
        .prepare_cached(
            "INSERT INTO secrets (place, integration, requested, granted, obtained_at, expires_at, secret, mac, \
             boot, obtained_uptime) VALUES (?1, ?1 >> 16, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT DO UPDATE SET requested = excluded.requested, granted = excluded.granted, obtained_at = excluded.obtained_at, \
             expires_at = excluded.expires_at, secret = excluded.secret, mac = excluded.mac, \
             boot = excluded.boot, obtained_uptime = excluded.obtained_uptime",
        )?
        .execute(params![
            place,
            bound.requested,
            bound.granted,
            bound.obtained_at,
            bound.expires_at,
            bound.secret,
            bound.mac(vault).as_bytes(),
            bound.boot.map(|(boot, _)| boot),
            bound.boot.map(|(_, uptime)| uptime),
        ])?;
    Ok(())
}

/// Deletes what has expired; returns the place of the token for the same scopes, or the first free one.
fn make_room(
    connection: &Connection,
    grant: i64,
    requested: &str,
    token: &TokenRecord,
) -> Result<i64, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT place, requested IS ?3 AS same, coalesce(expires_at <= ?4, 0) AS expired FROM secrets \
         WHERE place > ?1 AND place < ?2 ORDER BY place",
    )?;
    let mut rows = statement.query(params![grant, grant + PLACES, requested, micros(token.issued_at)])?;
    let (mut own, mut free, mut expired) = (None, grant + 1, Vec::new());
    while let Some(row) = rows.next()? {
        let place: i64 = row.get("place")?;
        if row.get("same")? {
            own = Some(place);
        } else if row.get("expired")? {
            expired.push(place);
            continue;
        }
        if place == free {
            free += 1;
        }
    }
    drop(rows);
    for place in expired {
        connection
            .prepare_cached("DELETE FROM secrets WHERE place = ?")?
            .execute([place])?;
    }
    // Should there be that many, the last place is shared: a token that is lost here costs one request after a
    // restart.
    Ok(own.unwrap_or(free.min(grant + PLACES - 1)))
}

/// Deletes all of the account's tokens.
pub(super) fn forget(connection: &Connection, id: &IntegrationId) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "DELETE FROM secrets WHERE requested IS NOT NULL \
             AND integration = (SELECT number FROM integrations WHERE id = ?)",
        )?
        .execute([id.as_str()])?;
    Ok(())
}
