//! The connected accounts.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params, types::ValueRef};

use crate::{
    cause::GrantCause,
    id::{CapabilityKey, IntegrationId},
    sqlite::{
        bound::{self, Bound},
        column::{self, corrupt, integer, micros},
        fault::Fault,
        rows,
    },
    sqlite_store::{
        health_column::{health, health_columns},
        keyed::secret_binding,
    },
    store::{
        AlteredRemedy, Health, IntegrationRecord, RecordFault, RenewalIntent, StoreError, UnusableRecord,
    },
    vault::{Binding, MacError, Sealed, Vault},
};

const INSERT: &str = "INSERT INTO integrations (id, kind, owner, subject, account, former, authority, scopes, declined, connected_at, \
     generation, mac) \
     VALUES (:id, :kind, :owner, :subject, :account, :former, :authority, :scopes, :declined, :connected_at, :generation, \
     :mac)";
const INSERT_GRANT: &str = "INSERT INTO secrets (place, integration, version, health, health_reason, obtained_at, \
     expires_at, secret, proof_key, generation, mac) \
     VALUES (:number << 16, :number, :version, :health, :health_reason, :obtained_at, :expires_at, :secret, :proof_key, \
     :generation, :mac)";

/// Selects accounts with their grants and intents.
fn select(which: &str) -> String {
    format!(
        "SELECT id, kind, owner, subject, account, former, authority, scopes, declined, connected_at, version, health, \
         health_reason, obtained_at, expires_at, secret, proof_key, started_at, attempts, integrations.generation AS generation, \
         integrations.mac AS mac, secrets.generation AS grant_generation, secrets.mac AS grant_mac \
         FROM integrations LEFT JOIN secrets ON secrets.place = number << 16 AND secrets.integration = number \
         LEFT JOIN renewals ON renewals.place = secrets.place {which}"
    )
}

/// Every account, and what is wrong with the rows that are none. An account whose grant somebody else wrote is there, so
/// that its agents are told why they have no token; it has no secret.
pub(super) fn load(
    connection: &Connection,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<IntegrationRecord>, Fault> {
    // The order in which they lie in the file.
    let select = select("ORDER BY number");
    let mut without_grant = Vec::new();
    let accounts = rows::load(connection, &select, "id", unusable, |row| {
        let refused = match read(row, vault) {
            Err(refused @ StoreError::Altered { .. }) => refused,
            other => return other,
        };
        let Some(account) = read_without_grant(row, vault) else {
            return Err(refused);
        };
        without_grant.push(UnusableRecord {
            name: account.id.to_string(),
            problem: refused,
            lasts: true,
        });
        Ok(account)
    })?;
    unusable.append(&mut without_grant);
    Ok(accounts)
}

/// One account.
pub(super) fn get(
    connection: &Connection,
    vault: &Vault,
    id: &IntegrationId,
) -> Result<Option<IntegrationRecord>, Fault> {
    let mut statement = connection.prepare_cached(&select("WHERE id = ?"))?;
    let mut rows = statement.query([id.as_str()])?;
    Ok(rows.next()?.map(|row| read(row, vault)).transpose()?)
}

/// Adds or replaces an account; returns its version.
pub(super) fn put(
    connection: &Connection,
    vault: &Vault,
    record: &IntegrationRecord,
    replaces: Option<u64>,
) -> Result<u64, Fault> {
    if version(connection, &record.id)? != replaces {
        return Err(StoreError::Conflict.into());
    }
    // Goes with its access tokens, and with its intent to renew.
    delete(connection, &record.id)?;
    let version = next_version(connection)?;
    let scopes = record.scopes.to_string();
    let declined = keys_column(&record.declined);
    let former = column::list(&record.former);
    let account = bound::Integration {
        id: record.id.as_str(),
        kind: record.provider.as_str(),
        owner: record.owner.as_str(),
        subject: &record.subject,
        account: &record.account,
        former: &former,
        issuer_binding: &record.issuer_binding,
        scopes: &scopes,
        declined: &declined,
        connected_at: micros(record.connected_at),
        generation: integer(version),
    };
    connection.prepare_cached(INSERT)?.execute(named_params! {
        ":id": account.id,
        ":kind": account.kind,
        ":owner": account.owner,
        ":subject": account.subject,
        ":account": account.account,
        ":former": account.former,
        ":authority": account.issuer_binding,
        ":scopes": account.scopes,
        ":declined": account.declined,
        ":connected_at": account.connected_at,
        ":generation": account.generation,
        ":mac": account.mac(vault).as_bytes(),
    })?;
    insert_grant(connection, vault, record, account.generation)?;
    Ok(version)
}

/// Adds the grant of the account whose row was added last.
fn insert_grant(
    connection: &Connection,
    vault: &Vault,
    record: &IntegrationRecord,
    generation: i64,
) -> Result<(), Fault> {
    let (health, health_reason) = health_columns(&record.health);
    let secret = vault.current(
        &secret_binding(record.provider.as_str(), &record.id),
        &record.secret,
    );
    let proof_key = record.proof_key.as_ref();
    let proof_key = proof_key.map(|sealed| vault.current(&Binding::ProofKey(&record.id), sealed));
    let grant = bound::Grant {
        integration: record.id.as_str(),
        generation,
        version: generation,
        health,
        health_reason: &health_reason,
        obtained_at: record.renewed_at.map(micros),
        expires_at: record.grant_expires_at.map(micros),
        secret: secret.as_bytes(),
        proof_key: proof_key.as_deref().map(Sealed::as_bytes),
    };
    connection.prepare_cached(INSERT_GRANT)?.execute(named_params! {
        ":number": connection.last_insert_rowid(),
        ":version": grant.version,
        ":health": grant.health,
        ":health_reason": grant.health_reason,
        ":obtained_at": grant.obtained_at,
        ":expires_at": grant.expires_at,
        ":secret": grant.secret,
        ":proof_key": grant.proof_key,
        ":generation": grant.generation,
        ":mac": grant.mac(vault).as_bytes(),
    })?;
    Ok(())
}

/// Records what the person did not give. False when the account is gone.
pub(super) fn set_declined(
    connection: &Connection,
    vault: &Vault,
    id: &IntegrationId,
    declined: &[CapabilityKey],
) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached("SELECT * FROM integrations WHERE id = ?")?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(false);
    };
    let mut account = bound::Integration::of(row).map_err(|reason| corrupt(id.as_str(), reason))?;
    // What somebody else wrote is not bound now, under this broker's name.
    account
        .verify(vault, column::mac(row, "mac"))
        .map_err(|reason| altered(row, reason))?;
    let declined = keys_column(declined);
    account.declined = &declined;
    connection
        .prepare_cached("UPDATE integrations SET declined = ?, mac = ? WHERE id = ?")?
        .execute(params![
            account.declined,
            account.mac(vault).as_bytes(),
            id.as_str()
        ])?;
    Ok(true)
}

/// Deletes an account; its grant and its access tokens go with it.
pub(super) fn delete(connection: &Connection, id: &IntegrationId) -> Result<bool, Fault> {
    connection
        .prepare_cached(
            "UPDATE grant_version SET last = max(last, version) \
             FROM integrations JOIN secrets ON place = number << 16 WHERE id = ?",
        )?
        .execute([id.as_str()])?;
    let deleted = connection
        .prepare_cached("DELETE FROM integrations WHERE id = ?")?
        .execute([id.as_str()])?;
    Ok(deleted > 0)
}

fn version(connection: &Connection, id: &IntegrationId) -> Result<Option<u64>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT version FROM integrations JOIN secrets ON place = number << 16 WHERE id = ?",
    )?;
    let found = statement
        .query_row([id.as_str()], |row| Ok(column::number(row, "version")))
        .optional()?;
    Ok(found.transpose().map_err(|reason| corrupt(id.as_str(), reason))?)
}

/// A version for an account that is not there, higher than any that it may have had.
fn next_version(connection: &Connection) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached("SELECT last + 1 AS next FROM grant_version")?;
    let next = statement.query_row([], |row| Ok(column::number(row, "next")))?;
    Ok(next.map_err(|reason| corrupt("grant_version", reason))?)
}

fn read(row: &Row<'_>, vault: &Vault) -> Result<IntegrationRecord, StoreError> {
    let unreadable = |reason: RecordFault| corrupt(column::label(row, "id"), reason);
    verify(row, vault)
        .map_err(unreadable)?
        .map_err(|reason| altered(row, reason))?;
    read_columns(row).map_err(unreadable)
}

/// Whether both rows of an account are what this broker wrote, and belong together.
fn verify(row: &Row<'_>, vault: &Vault) -> Result<Result<(), MacError>, RecordFault> {
    if row.get_ref("secret").is_ok_and(|secret| secret == ValueRef::Null) {
        return Err(RecordFault::NoGrant);
    }
    let account = bound::Integration::of(row)?;
    let grant = bound::Grant::of(row, account.id)?;
    let together = || {
        let same = account.generation == grant.generation;
        same.then_some(()).ok_or(MacError::Differs)
    };
    let verified = account.verify(vault, column::mac(row, "mac"));
    Ok(verified
        .and_then(|()| grant.verify(vault, column::mac(row, "grant_mac")))
        .and_then(|()| together()))
}

/// An account, where it is its grant alone that somebody else wrote.
fn read_without_grant(row: &Row<'_>, vault: &Vault) -> Option<IntegrationRecord> {
    let bound = bound::Integration::of(row).ok()?;
    bound.verify(vault, column::mac(row, "mac")).ok()?;
    let mut account = read_columns(row).ok()?;
    account.health = Health::Misconfigured(Box::new(GrantCause::Altered {
        account: account.account.clone(),
    }));
    account.secret = Sealed::from_bytes(Vec::new());
    account.proof_key = None;
    Some(account)
}

/// The error for an account that somebody else wrote.
fn altered(row: &Row<'_>, reason: MacError) -> StoreError {
    let id = column::label(row, "id");
    StoreError::Altered {
        record: format!("{id} ({})", column::claim(row)),
        reason,
        remedy: AlteredRemedy::Account(id),
    }
}

fn read_columns(row: &Row<'_>) -> Result<IntegrationRecord, RecordFault> {
    let renewal = match column::time_or_none(row, "started_at")? {
        Some(started_at) => Some(RenewalIntent {
            started_at,
            attempts: column::number(row, "attempts")?,
        }),
        None => None,
    };
    Ok(IntegrationRecord {
        id: column::parsed(row, "id")?,
        provider: column::parsed(row, "kind")?,
        owner: column::parsed(row, "owner")?,
        subject: column::text(row, "subject")?.to_owned(),
        account: column::text(row, "account")?.to_owned(),
        former: column::texts(row, "former")?,
        issuer_binding: column::text(row, "authority")?.into(),
        scopes: column::scopes(row, "scopes")?,
        health: health(row)?,
        version: column::number(row, "version")?,
        connected_at: column::time(row, "connected_at")?,
        renewed_at: column::time_or_none(row, "obtained_at")?,
        grant_expires_at: column::time_or_none(row, "expires_at")?,
        renewal,
        secret: column::sealed(row, "secret")?,
        proof_key: column::sealed_or_none(row, "proof_key")?,
        declined: column::keys(row, "declined")?,
    })
}

fn keys_column(keys: &[CapabilityKey]) -> String {
    keys.iter()
        .map(CapabilityKey::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}
