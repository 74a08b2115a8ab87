//! Binds what a row says to the master key. Without the key, somebody who writes the database can make rows unusable, and
//! never give them to another owner.
//!
//! Each row carries a MAC over all that it says, its sealed secret and what it belongs to included. An account lies in
//! two rows, so that a renewal writes one of them; both say the generation, which is the account's version when it was
//! connected last, and its access tokens' MACs cover it: rows of two generations do not go together.
//!
//! A column that is added later goes in as two fields, its name and its content, where it is not at its default. Rows from
//! before it then stay bound.

use rusqlite::Row;

use crate::vault::{Field, Mac, MacError, Vault};

use super::column::{self, Unreadable};

/// What is bound, of one kind of row.
pub(super) trait Bound {
    /// Which kind.
    const PURPOSE: &'static str;

    /// All that it says, in a fixed order.
    fn fields(&self) -> Vec<Field<'_>>;

    /// The MAC to be stored with it.
    fn mac(&self, vault: &Vault) -> Mac {
        vault.mac(Self::PURPOSE, &self.fields())
    }

    /// Whether `mac` was stored with it by who has the master key.
    fn verify(&self, vault: &Vault, mac: &[u8]) -> Result<(), MacError> {
        vault.verify_mac(Self::PURPOSE, &self.fields(), mac)
    }
}

/// What a renewal neither reads nor writes of an account.
pub(super) struct Integration<'a> {
    pub(super) id: &'a str,
    pub(super) kind: &'a str,
    pub(super) owner: &'a str,
    pub(super) subject: &'a str,
    pub(super) account: &'a str,
    pub(super) former: &'a str,
    pub(super) authority: &'a str,
    pub(super) scopes: &'a str,
    pub(super) declined: &'a str,
    pub(super) connected_at: i64,
    pub(super) generation: i64,
}

impl<'a> Integration<'a> {
    pub(super) fn of(row: &'a Row<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            id: column::text(row, "id")?,
            kind: column::text(row, "kind")?,
            owner: column::text(row, "owner")?,
            subject: column::text(row, "subject")?,
            account: column::text(row, "account")?,
            former: column::text(row, "former")?,
            authority: column::text(row, "authority")?,
            scopes: column::text(row, "scopes")?,
            declined: column::text(row, "declined")?,
            connected_at: column::number(row, "connected_at")?,
            generation: column::number(row, "generation")?,
        })
    }
}

impl Bound for Integration<'_> {
    const PURPOSE: &'static str = "integration";

    fn fields(&self) -> Vec<Field<'_>> {
        let mut fields = vec![
            self.id.into(),
            self.kind.into(),
            self.owner.into(),
            self.subject.into(),
            self.account.into(),
            self.authority.into(),
            self.scopes.into(),
            self.declined.into(),
            self.connected_at.into(),
            self.generation.into(),
        ];
        if !self.former.is_empty() {
            fields.extend([Field::from("former"), Field::from(self.former)]);
        }
        fields
    }
}

/// An account's grant.
pub(super) struct Grant<'a> {
    pub(super) integration: &'a str,
    pub(super) generation: i64,
    pub(super) version: i64,
    pub(super) health: &'a str,
    pub(super) health_reason: &'a str,
    pub(super) obtained_at: Option<i64>,
    pub(super) expires_at: Option<i64>,
    pub(super) secret: &'a [u8],
}

impl<'a> Grant<'a> {
    /// The columns of a grant, with its own `grant_generation`, of the account `integration`.
    pub(super) fn of(row: &'a Row<'_>, integration: &'a str) -> Result<Self, Unreadable> {
        Ok(Self {
            integration,
            generation: column::number(row, "grant_generation")?,
            version: column::number(row, "version")?,
            health: column::text(row, "health")?,
            health_reason: column::text(row, "health_reason")?,
            obtained_at: column::number_or_none(row, "obtained_at")?,
            expires_at: column::number_or_none(row, "expires_at")?,
            secret: column::bytes(row, "secret")?,
        })
    }
}

impl Bound for Grant<'_> {
    const PURPOSE: &'static str = "grant";

    fn fields(&self) -> Vec<Field<'_>> {
        vec![
            self.integration.into(),
            self.generation.into(),
            self.version.into(),
            self.health.into(),
            self.health_reason.into(),
            self.obtained_at.into(),
            self.expires_at.into(),
            self.secret.into(),
        ]
    }
}

/// An access token.
pub(super) struct Token<'a> {
    pub(super) integration: &'a str,
    pub(super) generation: i64,
    pub(super) requested: &'a str,
    pub(super) granted: Option<&'a str>,
    pub(super) obtained_at: i64,
    /// By which boot's uptime it was obtained, and at which moment of that.
    pub(super) boot: Option<(&'a [u8], i64)>,
    pub(super) expires_at: i64,
    pub(super) secret: &'a [u8],
}

impl<'a> Token<'a> {
    /// The columns of an access token, with its account's `id` and `generation`.
    pub(super) fn of(row: &'a Row<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            integration: column::text(row, "id")?,
            generation: column::number(row, "generation")?,
            requested: column::text(row, "requested")?,
            granted: column::text_or_none(row, "granted")?,
            obtained_at: column::number(row, "obtained_at")?,
            boot: column::bytes_or_none(row, "boot")?.zip(column::number_or_none(row, "obtained_uptime")?),
            expires_at: column::number(row, "expires_at")?,
            secret: column::bytes(row, "secret")?,
        })
    }
}

impl Bound for Token<'_> {
    const PURPOSE: &'static str = "access token";

    fn fields(&self) -> Vec<Field<'_>> {
        let mut fields = vec![
            self.integration.into(),
            self.generation.into(),
            self.requested.into(),
            self.granted.into(),
            self.obtained_at.into(),
            self.expires_at.into(),
            self.secret.into(),
        ];
        if let Some((boot, uptime)) = self.boot {
            fields.extend::<[Field<'_>; 4]>([
                "boot".into(),
                boot.into(),
                "obtained_uptime".into(),
                uptime.into(),
            ]);
        }
        fields
    }
}

/// A grant that is still to be revoked.
pub(super) struct Revocation<'a> {
    pub(super) id: &'a str,
    pub(super) owner: &'a str,
    pub(super) subject: &'a str,
    pub(super) account: &'a str,
    pub(super) authority: &'a str,
    pub(super) since: i64,
    pub(super) secret: &'a [u8],
}

impl<'a> Revocation<'a> {
    pub(super) fn of(row: &'a Row<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            id: column::text(row, "id")?,
            owner: column::text(row, "owner")?,
            subject: column::text(row, "subject")?,
            account: column::text(row, "account")?,
            authority: column::text(row, "authority")?,
            since: column::number(row, "since")?,
            secret: column::bytes(row, "secret")?,
        })
    }
}

impl Bound for Revocation<'_> {
    const PURPOSE: &'static str = "revocation";

    fn fields(&self) -> Vec<Field<'_>> {
        vec![
            self.id.into(),
            self.owner.into(),
            self.subject.into(),
            self.account.into(),
            self.authority.into(),
            self.since.into(),
            self.secret.into(),
        ]
    }
}

/// Who holds an agent, and what it proves itself with.
pub(super) struct HolderOf<'a> {
    pub(super) agent: &'a str,
    pub(super) holder: Option<&'a str>,
    pub(super) secret: Option<&'a [u8]>,
}

impl<'a> HolderOf<'a> {
    pub(super) fn of(row: &'a Row<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            agent: column::text(row, "agent")?,
            holder: column::text_or_none(row, "holder")?,
            secret: column::bytes_or_none(row, "secret")?,
        })
    }
}

impl Bound for HolderOf<'_> {
    const PURPOSE: &'static str = "holder";

    fn fields(&self) -> Vec<Field<'_>> {
        vec![self.agent.into(), self.holder.into(), self.secret.into()]
    }
}

/// An agent that came over the API.
pub(super) struct Agent<'a> {
    pub(super) name: &'a str,
    pub(super) manifest: &'a str,
}

impl<'a> Agent<'a> {
    pub(super) fn of(row: &'a Row<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            name: column::text(row, "name")?,
            manifest: column::text(row, "manifest")?,
        })
    }
}

impl Bound for Agent<'_> {
    const PURPOSE: &'static str = "agent";

    fn fields(&self) -> Vec<Field<'_>> {
        vec![self.name.into(), self.manifest.into()]
    }
}
