//! Binds what a row says to the keyring. Without the key, somebody who writes the database can make rows unusable, and
//! never give them to another owner.
//!
//! Each row carries a MAC over all that it says, its sealed secret and what it belongs to included. An account lies in
//! two rows, so that a renewal writes one of them; both say the generation, which is the account's version when it was
//! connected last, and its access tokens' MACs cover it: rows of two generations do not go together.
//!
//! A column that is added later goes in as two fields, its name and its content, where it is not at its default. Rows from
//! before it then stay bound.

use crate::{
    sql::{Columns, column},
    store::RecordFault,
    vault::{Field, Mac, MacError, Vault},
};

/// What is bound, of one kind of row.
pub(crate) trait Bound {
    /// Which kind.
    const PURPOSE: &'static str;

    /// All that it says, in a fixed order.
    fn fields(&self) -> Vec<Field<'_>>;

    /// The MAC to be stored with it.
    fn mac(&self, vault: &Vault) -> Mac {
        vault.mac(Self::PURPOSE, &self.fields())
    }

    /// Whether `mac` was stored with it by who has the keyring.
    fn verify(&self, vault: &Vault, mac: &[u8]) -> Result<(), MacError> {
        vault.verify_mac(Self::PURPOSE, &self.fields(), mac)
    }
}

/// What a renewal neither reads nor writes of an account.
pub(crate) struct Integration<'a> {
    pub(crate) id: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) account: &'a str,
    pub(crate) former: &'a str,
    pub(crate) issuer_binding: &'a str,
    pub(crate) scopes: &'a str,
    pub(crate) declined: &'a str,
    pub(crate) connected_at: i64,
    pub(crate) generation: i64,
}

impl<'a> Integration<'a> {
    pub(crate) fn of(row: &'a dyn Columns) -> Result<Self, RecordFault> {
        Ok(Self {
            id: column::text(row, "id")?,
            kind: column::text(row, "kind")?,
            owner: column::text(row, "owner")?,
            subject: column::text(row, "subject")?,
            account: column::text(row, "account")?,
            former: column::text(row, "former")?,
            issuer_binding: column::text(row, "authority")?,
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
            self.issuer_binding.into(),
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
pub(crate) struct Grant<'a> {
    pub(crate) integration: &'a str,
    pub(crate) generation: i64,
    pub(crate) version: i64,
    pub(crate) health: &'a str,
    pub(crate) health_reason: &'a str,
    pub(crate) obtained_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) secret: &'a [u8],
    pub(crate) proof_key: Option<&'a [u8]>,
}

impl<'a> Grant<'a> {
    /// The columns of a grant, with its own `grant_generation`, of the account `integration`.
    pub(crate) fn of(row: &'a dyn Columns, integration: &'a str) -> Result<Self, RecordFault> {
        Ok(Self {
            integration,
            generation: column::number(row, "grant_generation")?,
            version: column::number(row, "version")?,
            health: column::text(row, "health")?,
            health_reason: column::text(row, "health_reason")?,
            obtained_at: column::number_or_none(row, "obtained_at")?,
            expires_at: column::number_or_none(row, "expires_at")?,
            secret: column::bytes(row, "secret")?,
            proof_key: column::bytes_or_none(row, "proof_key")?,
        })
    }
}

impl Bound for Grant<'_> {
    const PURPOSE: &'static str = "grant";

    fn fields(&self) -> Vec<Field<'_>> {
        let mut fields = vec![
            self.integration.into(),
            self.generation.into(),
            self.version.into(),
            self.health.into(),
            self.health_reason.into(),
            self.obtained_at.into(),
            self.expires_at.into(),
            self.secret.into(),
        ];
        if let Some(proof_key) = self.proof_key {
            fields.extend([Field::from("proof_key"), Field::from(proof_key)]);
        }
        fields
    }
}

/// An access token.
pub(crate) struct Token<'a> {
    pub(crate) integration: &'a str,
    pub(crate) generation: i64,
    pub(crate) requested: &'a str,
    pub(crate) granted: Option<&'a str>,
    pub(crate) obtained_at: i64,
    /// By which boot's uptime it was obtained, and at which moment of that.
    pub(crate) boot: Option<(&'a [u8], i64)>,
    pub(crate) expires_at: i64,
    pub(crate) secret: &'a [u8],
}

impl<'a> Token<'a> {
    /// The columns of an access token, with its account's `id` and `generation`.
    pub(crate) fn of(row: &'a dyn Columns) -> Result<Self, RecordFault> {
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
pub(crate) struct Revocation<'a> {
    pub(crate) id: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) account: &'a str,
    pub(crate) issuer_binding: &'a str,
    pub(crate) since: i64,
    pub(crate) secret: &'a [u8],
}

impl<'a> Revocation<'a> {
    pub(crate) fn of(row: &'a dyn Columns) -> Result<Self, RecordFault> {
        Ok(Self {
            id: column::text(row, "id")?,
            owner: column::text(row, "owner")?,
            subject: column::text(row, "subject")?,
            account: column::text(row, "account")?,
            issuer_binding: column::text(row, "authority")?,
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
            self.issuer_binding.into(),
            self.since.into(),
            self.secret.into(),
        ]
    }
}

/// Who holds an agent, and what it proves itself with.
pub(crate) struct HolderOf<'a> {
    pub(crate) agent: &'a str,
    pub(crate) holder: Option<&'a str>,
    pub(crate) secret: Option<&'a [u8]>,
}

impl<'a> HolderOf<'a> {
    pub(crate) fn of(row: &'a dyn Columns) -> Result<Self, RecordFault> {
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
pub(crate) struct Agent<'a> {
    pub(crate) name: &'a str,
    pub(crate) manifest: &'a str,
}

impl<'a> Agent<'a> {
    pub(crate) fn of(row: &'a dyn Columns) -> Result<Self, RecordFault> {
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
