//! An account's grant as its row says it, and what a renewal makes of it.

use std::borrow::Cow;

use crate::{
    id::IntegrationId,
    sql::{
        Columns,
        bound::{self, Bound},
        column::{self, corrupt, integer, micros},
    },
    store::{AlteredRemedy, Grant, RecordFault, RenewalIntent, RenewalOutcome, StoreError},
    tables::health::{health, health_columns},
    vault::{Binding, Sealed, Vault},
};

/// A grant as it lies in the database.
pub(crate) struct StoredGrant {
    /// The account's version when it was connected last.
    pub(crate) generation: i64,
    obtained_at: Option<i64>,
    expires_at: Option<i64>,
    /// Without its intent.
    pub(crate) grant: Grant,
}

impl StoredGrant {
    /// Of the row of the account `id`. It is written by nobody else, or it is an error.
    pub(crate) fn read(row: &dyn Columns, vault: &Vault, id: &IntegrationId) -> Result<Self, StoreError> {
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
        Ok(Self {
            generation: bound.generation,
            obtained_at: bound.obtained_at,
            expires_at: bound.expires_at,
            grant: grant().map_err(unreadable)?,
        })
    }

    /// What the row is to say after a renewal that began with the version `expected`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where it has another version.
    pub(crate) fn renewed<'a>(
        &self,
        vault: &Vault,
        id: &IntegrationId,
        expected: u64,
        outcome: &'a RenewalOutcome,
    ) -> Result<RenewedGrant<'a>, StoreError> {
        let grant = &self.grant;
        if grant.version != expected {
            return Err(StoreError::Conflict);
        }
        let changed = outcome.rotated.is_some() || outcome.health != grant.health;
        let version = if changed { grant.version + 1 } else { grant.version };
        let (health, health_reason) = health_columns(&outcome.health);
        let rotated = outcome.rotated.as_ref();
        let rotated = rotated.map(|sealed| vault.current(&Binding::RefreshToken(id), sealed));
        let after = bound::Grant {
            integration: id.as_str(),
            generation: self.generation,
            version: integer(version),
            health,
            health_reason: &health_reason,
            obtained_at: outcome.renewed_at.map(micros).or(self.obtained_at),
            expires_at: outcome.grant_expires_at.map(micros).or(self.expires_at),
            secret: rotated.as_deref().unwrap_or(&grant.secret).as_bytes(),
            proof_key: grant.proof_key.as_ref().map(Sealed::as_bytes),
        };
        Ok(RenewedGrant {
            version,
            health,
            obtained_at: after.obtained_at,
            expires_at: after.expires_at,
            mac: after.mac(vault).as_bytes().to_vec(),
            health_reason,
            rotated,
        })
    }
}

/// What the row of a grant is to say after a renewal.
pub(crate) struct RenewedGrant<'a> {
    pub(crate) version: u64,
    pub(crate) health: &'static str,
    pub(crate) health_reason: Cow<'a, str>,
    pub(crate) obtained_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    /// The secret that takes the place of the one before, if one does.
    pub(crate) rotated: Option<Cow<'a, Sealed>>,
    pub(crate) mac: Vec<u8>,
}

/// An intent that is there, in a row of the account `id`.
pub(crate) fn intent(row: &dyn Columns, id: &IntegrationId) -> Result<RenewalIntent, StoreError> {
    let intent = || {
        Ok(RenewalIntent {
            started_at: column::time(row, "started_at")?,
            attempts: column::number(row, "attempts")?,
        })
    };
    intent().map_err(|reason: RecordFault| corrupt(id.as_str(), reason))
}
