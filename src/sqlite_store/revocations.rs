//! Grants that are still to be revoked.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use crate::{
    id::IntegrationId,
    sqlite::{
        bound::{self, Bound},
        column::{self, corrupt, micros},
        fault::Fault,
        rows,
    },
    sqlite_store::integrations,
    store::{AlteredRemedy, RecordFault, RevocationRecord, StoreError, UnusableRecord},
    vault::{Binding, Sealed, Vault},
};

/// Every one, and what is wrong with the rows that are none.
pub(super) fn load(
    connection: &Connection,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<RevocationRecord>, Fault> {
    let select = "SELECT * FROM revocations ORDER BY id";
    rows::load(connection, select, "id", unusable, |row| read(row, vault))
}

/// Moves an account's grant here, and deletes the account. False when it was not there.
pub(super) fn owe(
    connection: &Connection,
    vault: &Vault,
    id: &IntegrationId,
    since: Timestamp,
) -> Result<bool, Fault> {
    let Some(account) = integrations::get(connection, vault, id)? else {
        return Ok(false);
    };
    let owed = RevocationRecord {
        id: account.id,
        owner: account.owner,
        subject: account.subject,
        account: account.account,
        issuer_binding: account.issuer_binding,
        since,
        secret: account.secret,
    };
    let secret = vault.current(&Binding::RefreshToken(&owed.id), &owed.secret);
    let bound = bound_of(&owed, &secret);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO revocations (id, owner, subject, account, authority, since, secret, mac) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            bound.id,
            bound.owner,
            bound.subject,
            bound.account,
            bound.issuer_binding,
            bound.since,
            bound.secret,
            bound.mac(vault).as_bytes(),
        ])?;
    integrations::delete(connection, id)
}

/// Keeps another secret for one that is there.
pub(super) fn put(connection: &Connection, vault: &Vault, owed: &RevocationRecord) -> Result<(), Fault> {
    let secret = vault.current(&Binding::RefreshToken(&owed.id), &owed.secret);
    let bound = bound_of(owed, &secret);
    connection
        .prepare_cached("UPDATE revocations SET secret = ?, mac = ? WHERE id = ?")?
        .execute(params![bound.secret, bound.mac(vault).as_bytes(), bound.id])?;
    Ok(())
}

fn bound_of<'a>(owed: &'a RevocationRecord, secret: &'a Sealed) -> bound::Revocation<'a> {
    bound::Revocation {
        id: owed.id.as_str(),
        owner: owed.owner.as_str(),
        subject: &owed.subject,
        account: &owed.account,
        issuer_binding: &owed.issuer_binding,
        since: micros(owed.since),
        secret: secret.as_bytes(),
    }
}

/// Deletes one.
pub(super) fn settle(connection: &Connection, id: &IntegrationId) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM revocations WHERE id = ?")?
        .execute([id.as_str()])?;
    Ok(())
}

fn read(row: &Row<'_>, vault: &Vault) -> Result<RevocationRecord, StoreError> {
    let id = column::label(row, "id");
    let record = || format!("revocation of {id}");
    let bound = bound::Revocation::of(row).map_err(|reason| corrupt(record(), reason))?;
    bound
        .verify(vault, column::mac(row, "mac"))
        .map_err(|reason| StoreError::Altered {
            record: format!("{} ({})", record(), column::claim(row)),
            reason,
            remedy: AlteredRemedy::Revocation(id.clone()),
        })?;
    let revocation = || {
        Ok(RevocationRecord {
            id: column::parsed(row, "id")?,
            owner: column::parsed(row, "owner")?,
            subject: bound.subject.to_owned(),
            account: bound.account.to_owned(),
            issuer_binding: bound.issuer_binding.into(),
            since: column::time(row, "since")?,
            secret: column::sealed(row, "secret")?,
        })
    };
    revocation().map_err(|reason: RecordFault| corrupt(record(), reason))
}
