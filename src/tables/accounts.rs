//! Accounts as their rows say them: one for what a renewal neither reads nor writes, and one for the grant.

use std::borrow::Cow;

use crate::{
    cause::GrantCause,
    id::{CapabilityKey, IntegrationId},
    sql::{
        Cell, Columns, Fault, Sql,
        bound::{self, Bound},
        column::{self, corrupt, micros},
        rows,
    },
    store::{
        AlteredRemedy, Health, IntegrationRecord, RecordFault, RenewalIntent, StoreError, UnusableRecord,
    },
    tables::health::{health, health_columns},
    vault::{Binding, MacError, Sealed, Vault},
};

/// The kind of account whose secret is a key. All others have refresh tokens.
const KEYS: &str = "google-sa";

/// What the secret of an account of this kind is bound to.
pub(crate) fn secret_binding<'a>(kind: &str, id: &'a IntegrationId) -> Binding<'a> {
    if kind == KEYS {
        Binding::ServiceAccountKey(id)
    } else {
        Binding::RefreshToken(id)
    }
}

/// Every account that `select` finds, and what is wrong with the rows that are none. An account whose grant somebody else
/// wrote is there, so that its agents are told why they have no token; it has no secret.
pub(crate) fn load(
    sql: &dyn Sql,
    select: &str,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<IntegrationRecord>, Fault> {
    let mut without_grant = Vec::new();
    let accounts = rows::load(sql, select, "id", unusable, |row| {
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

/// An account, of a row that has the columns of both of its own.
pub(crate) fn read(row: &dyn Columns, vault: &Vault) -> Result<IntegrationRecord, StoreError> {
    let unreadable = |reason: RecordFault| corrupt(column::label(row, "id"), reason);
    verify(row, vault)
        .map_err(unreadable)?
        .map_err(|reason| altered(row, reason))?;
    read_columns(row).map_err(unreadable)
}

/// Whether both rows of an account are what this broker wrote, and belong together.
fn verify(row: &dyn Columns, vault: &Vault) -> Result<Result<(), MacError>, RecordFault> {
    if row.cell("secret").is_ok_and(|secret| secret == Cell::Null) {
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
fn read_without_grant(row: &dyn Columns, vault: &Vault) -> Option<IntegrationRecord> {
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
fn altered(row: &dyn Columns, reason: MacError) -> StoreError {
    let id = column::label(row, "id");
    StoreError::Altered {
        record: format!("{id} ({})", column::claim(row)),
        reason,
        remedy: AlteredRemedy::Account(id),
    }
}

fn read_columns(row: &dyn Columns) -> Result<IntegrationRecord, RecordFault> {
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

/// The texts of an account's first row that its record has in another form.
pub(crate) struct AccountTexts {
    scopes: String,
    declined: String,
    former: String,
}

impl AccountTexts {
    pub(crate) fn of(record: &IntegrationRecord) -> Self {
        Self {
            scopes: record.scopes.to_string(),
            declined: keys_column(&record.declined),
            former: column::list(&record.former),
        }
    }

    /// What the row of that account says, which was connected as this `generation`.
    pub(crate) fn row<'a>(
        &'a self,
        record: &'a IntegrationRecord,
        generation: i64,
    ) -> bound::Integration<'a> {
        bound::Integration {
            id: record.id.as_str(),
            kind: record.provider.as_str(),
            owner: record.owner.as_str(),
            subject: &record.subject,
            account: &record.account,
            former: &self.former,
            issuer_binding: &record.issuer_binding,
            scopes: &self.scopes,
            declined: &self.declined,
            connected_at: micros(record.connected_at),
            generation,
        }
    }
}

/// What is in the row of an account's grant when it is connected, as it is kept.
pub(crate) struct NewGrant<'a> {
    secret: Cow<'a, Sealed>,
    proof_key: Option<Cow<'a, Sealed>>,
    health: &'static str,
    health_reason: Cow<'a, str>,
}

impl<'r> NewGrant<'r> {
    /// Under the active key.
    pub(crate) fn of(record: &'r IntegrationRecord, vault: &Vault) -> Self {
        let (health, health_reason) = health_columns(&record.health);
        let secret = vault.current(
            &secret_binding(record.provider.as_str(), &record.id),
            &record.secret,
        );
        let proof_key = record.proof_key.as_ref();
        let proof_key = proof_key.map(|sealed| vault.current(&Binding::ProofKey(&record.id), sealed));
        Self {
            secret,
            proof_key,
            health,
            health_reason,
        }
    }

    /// What the row says, of the account that was connected as this `generation`.
    pub(crate) fn row<'a>(&'a self, record: &'a IntegrationRecord, generation: i64) -> bound::Grant<'a> {
        bound::Grant {
            integration: record.id.as_str(),
            generation,
            version: generation,
            health: self.health,
            health_reason: &self.health_reason,
            obtained_at: record.renewed_at.map(micros),
            expires_at: record.grant_expires_at.map(micros),
            secret: self.secret.as_bytes(),
            proof_key: self.proof_key.as_deref().map(Sealed::as_bytes),
        }
    }
}

/// What an account's first row is to say and to be bound by, once something else was declined.
///
/// # Errors
/// Of a row that cannot be read, or that somebody else wrote: that is not bound now, under this broker's name.
pub(crate) fn with_declined(
    row: &dyn Columns,
    vault: &Vault,
    declined: &[CapabilityKey],
) -> Result<(String, Vec<u8>), StoreError> {
    let label = || column::label(row, "id");
    let mut account = bound::Integration::of(row).map_err(|reason| corrupt(label(), reason))?;
    account
        .verify(vault, column::mac(row, "mac"))
        .map_err(|reason| altered(row, reason))?;
    let declined = keys_column(declined);
    account.declined = &declined;
    let mac = account.mac(vault).as_bytes().to_vec();
    Ok((declined, mac))
}

fn keys_column(keys: &[CapabilityKey]) -> String {
    keys.iter()
        .map(CapabilityKey::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}
