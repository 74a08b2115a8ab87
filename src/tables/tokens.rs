//! Access tokens as their rows say them.

use std::borrow::Cow;

use crate::{
    clock::{BootId, BootMoment, Uptime},
    sql::{
        Columns, Fault, Sql,
        bound::{self, Bound},
        column::{self, corrupt, micros},
        rows,
    },
    store::{AlteredRemedy, RecordFault, StoreError, TokenRecord, UnusableRecord},
    vault::{Binding, Sealed, Vault},
};

/// Every token that `select` finds, and what is wrong with the rows that are none.
pub(crate) fn load(
    sql: &dyn Sql,
    select: &str,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<TokenRecord>, Fault> {
    let before = unusable.len();
    let tokens = rows::load(sql, select, "id", unusable, |row| read(row, vault))?;
    // The next one takes its place.
    unusable[before..]
        .iter_mut()
        .for_each(|record| record.lasts = false);
    Ok(tokens)
}

/// A token that is to be kept.
pub(crate) struct NewToken<'a> {
    token: &'a TokenRecord,
    requested: String,
    granted: Option<String>,
    secret: Cow<'a, Sealed>,
}

impl<'a> NewToken<'a> {
    /// Under the active key.
    pub(crate) fn of(token: &'a TokenRecord, vault: &Vault) -> Self {
        let binding = Binding::AccessToken {
            integration: &token.integration,
            requested: &token.requested,
        };
        Self {
            requested: token.requested.to_string(),
            granted: (token.granted != token.requested).then(|| token.granted.to_string()),
            secret: vault.current(&binding, &token.secret),
            token,
        }
    }

    /// What its row says, of an account that was connected as this `generation`.
    pub(crate) fn row(&self, generation: i64) -> bound::Token<'_> {
        let token = self.token;
        let boot = token.issued_in_boot.as_ref();
        bound::Token {
            integration: token.integration.as_str(),
            generation,
            requested: &self.requested,
            granted: self.granted.as_deref(),
            obtained_at: micros(token.issued_at),
            boot: boot.map(|issued| (issued.boot.as_bytes().as_slice(), issued.uptime.as_micros())),
            expires_at: micros(token.expires_at),
            secret: self.secret.as_bytes(),
        }
    }
}

fn read(row: &dyn Columns, vault: &Vault) -> Result<TokenRecord, StoreError> {
    let record = || format!("access token of {}", column::label(row, "id"));
    let bound = bound::Token::of(row).map_err(|reason| corrupt(record(), reason))?;
    bound
        .verify(vault, column::mac(row, "mac"))
        .map_err(|reason| StoreError::Altered {
            record: record(),
            reason,
            remedy: AlteredRemedy::Token,
        })?;
    let token = || {
        let requested = column::scopes(row, "requested")?;
        Ok(TokenRecord {
            integration: column::parsed(row, "id")?,
            granted: match bound.granted {
                Some(_) => column::scopes(row, "granted")?,
                None => requested.clone(),
            },
            requested,
            issued_at: column::time(row, "obtained_at")?,
            issued_in_boot: bound.boot.map(issued_in_boot).transpose()?,
            expires_at: column::time(row, "expires_at")?,
            secret: column::sealed(row, "secret")?,
        })
    };
    token().map_err(|reason: RecordFault| corrupt(record(), reason))
}

fn issued_in_boot((boot, micros): (&[u8], i64)) -> Result<BootMoment, RecordFault> {
    let boot = boot.try_into().map_err(|_| RecordFault::Boot)?;
    Ok(BootMoment {
        boot: BootId::from_bytes(boot),
        uptime: Uptime::from_micros(micros),
    })
}
