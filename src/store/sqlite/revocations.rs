//! Grants that are still to be revoked.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::{id::IntegrationId, store::RevocationRecord};

use super::{
    column::{self, Unreadable, corrupt, micros},
    fault::Fault,
    integrations, rows,
};

/// Every one, and a sentence for each row that is none.
pub(super) fn load(
    connection: &Connection,
    problems: &mut Vec<String>,
) -> Result<Vec<RevocationRecord>, Fault> {
    let select = "SELECT * FROM revocations ORDER BY id";
    rows::load(connection, select, problems, |row| {
        let named = || format!("revocation of {}", column::label(row, "id"));
        read(row).map_err(|reason| corrupt(named(), reason))
    })
}

/// Moves an account's grant here, and deletes the account. False when it was not there.
pub(super) fn owe(connection: &Connection, id: &IntegrationId, since: Timestamp) -> Result<bool, Fault> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO revocations (id, owner, subject, account, authority, since, secret) \
             SELECT id, owner, subject, account, authority, ?, secret \
             FROM integrations JOIN secrets ON place = number << 16 WHERE id = ?",
        )?
        .execute(params![micros(since), id.as_str()])?;
    integrations::delete(connection, id)
}

/// Deletes one.
pub(super) fn settle(connection: &Connection, id: &IntegrationId) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM revocations WHERE id = ?")?
        .execute([id.as_str()])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<RevocationRecord, Unreadable> {
    Ok(RevocationRecord {
        id: column::parsed(row, "id")?,
        owner: column::parsed(row, "owner")?,
        subject: column::text(row, "subject")?.to_owned(),
        account: column::text(row, "account")?.to_owned(),
        authority: column::text(row, "authority")?.into(),
        since: column::time(row, "since")?,
        secret: column::sealed(row, "secret")?,
    })
}
