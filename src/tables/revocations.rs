//! Grants that are still to be revoked.

use jiff::Timestamp;

use crate::{
    id::IntegrationId,
    sql::{
        Columns, Fault, Sql,
        bound::{self, Bound},
        column::{self, corrupt, micros},
        rows, values,
    },
    store::{AlteredRemedy, IntegrationRecord, RecordFault, RevocationRecord, StoreError, UnusableRecord},
    vault::{Binding, Sealed, Vault},
};

/// Every one, and what is wrong with the rows that are none.
pub(crate) fn load(
    sql: &dyn Sql,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<RevocationRecord>, Fault> {
    let select = "SELECT * FROM revocations ORDER BY id";
    rows::load(sql, select, "id", unusable, |row| read(row, vault))
}

const PUT: &str = "INSERT INTO revocations (id, owner, subject, account, authority, since, secret, mac) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, \
                   subject = excluded.subject, account = excluded.account, authority = excluded.authority, \
                   since = excluded.since, secret = excluded.secret, mac = excluded.mac";

/// Adds an account's grant.
pub(crate) fn add(
    sql: &dyn Sql,
    vault: &Vault,
    account: IntegrationRecord,
    since: Timestamp,
) -> Result<(), Fault> {
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
    let mac = bound.mac(vault);
    sql.execute(
        PUT,
        values![
            bound.id,
            bound.owner,
            bound.subject,
            bound.account,
            bound.issuer_binding,
            bound.since,
            bound.secret,
            mac.as_bytes(),
        ],
    )?;
    Ok(())
}

/// Keeps another secret for one that is there.
pub(crate) fn put(sql: &dyn Sql, vault: &Vault, owed: &RevocationRecord) -> Result<(), Fault> {
    let secret = vault.current(&Binding::RefreshToken(&owed.id), &owed.secret);
    let bound = bound_of(owed, &secret);
    let mac = bound.mac(vault);
    sql.execute(
        "UPDATE revocations SET secret = ?1, mac = ?2 WHERE id = ?3",
        values![bound.secret, mac.as_bytes(), bound.id],
    )?;
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
pub(crate) fn settle(sql: &dyn Sql, id: &IntegrationId) -> Result<(), Fault> {
    sql.execute("DELETE FROM revocations WHERE id = ?1", values![id.as_str()])?;
    Ok(())
}

fn read(row: &dyn Columns, vault: &Vault) -> Result<RevocationRecord, StoreError> {
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
