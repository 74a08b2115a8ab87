//! Access tokens that are still alive.

use crate::{
    id::IntegrationId,
    sql::{Fault, Sql, bound::Bound, column::micros, values},
    store::{TokenRecord, UnusableRecord},
    tables::tokens::{self, NewToken},
    vault::Vault,
};

/// Every token, and what is wrong with the rows that are none.
pub(super) fn load(
    sql: &dyn Sql,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<TokenRecord>, Fault> {
    let select = "SELECT id, epoch AS generation, requested, granted, obtained_at, boot, obtained_uptime, expires_at, secret, \
                  access_tokens.mac AS mac FROM access_tokens JOIN integrations ON integrations.number = integration \
                  ORDER BY access_tokens.number";
    tokens::load(sql, select, vault, unusable)
}

/// Adds a token of an account, by its number and generation, or replaces the one that was obtained for the same scopes. The account's
/// other tokens that have expired by then go: those whose scopes no agent asks for any more would stay for ever.
pub(super) fn put(
    sql: &dyn Sql,
    vault: &Vault,
    (account, generation): (i64, i64),
    token: &TokenRecord,
) -> Result<(), Fault> {
    let kept = NewToken::of(token, vault);
    let bound = kept.row(generation);
    sql.execute(
        "WITH gone AS (DELETE FROM access_tokens WHERE integration = ?1 AND requested <> ?2 AND expires_at <= ?10) \
         INSERT INTO access_tokens (integration, requested, granted, obtained_at, expires_at, secret, mac, boot, obtained_uptime) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (integration, requested) DO UPDATE SET \
         granted = excluded.granted, obtained_at = excluded.obtained_at, expires_at = excluded.expires_at, \
         secret = excluded.secret, mac = excluded.mac, boot = excluded.boot, obtained_uptime = excluded.obtained_uptime",
        values![
            account,
            bound.requested,
            bound.granted,
            bound.obtained_at,
            bound.expires_at,
            bound.secret,
            bound.mac(vault).as_bytes(),
            bound.boot.map(|(boot, _)| boot),
            bound.boot.map(|(_, uptime)| uptime),
            micros(token.issued_at),
        ],
    )?;
    Ok(())
}

/// Deletes all of the account's tokens.
pub(super) fn forget(sql: &dyn Sql, id: &IntegrationId) -> Result<(), Fault> {
    sql.execute(
        "DELETE FROM access_tokens WHERE integration = (SELECT number FROM integrations WHERE id = ?1)",
        values![id.as_str()],
    )?;
    Ok(())
}
