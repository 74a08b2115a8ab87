//! The records that need a key: what is sealed in each, what it is bound by, and how it comes to lie under another one.

use crate::{
    id::{AgentName, IntegrationId},
    sql::{
        Columns,
        bound::{self, Bound},
        column,
        keyed::{Anew, Before, Look, Table},
    },
    tables::accounts::secret_binding,
    vault::{Binding, Vault},
};

/// The kinds of row that lie in tables of this room.
pub(crate) const TABLES: [Table; 3] = [
    Table {
        what: "revocation of",
        select: "SELECT id AS row_key, * FROM revocations WHERE id > ?1 ORDER BY id LIMIT ?2",
        before: Before::Names,
        label: "id",
        look: revocation,
        update: "UPDATE revocations SET mac = ?2, secret = ?3 WHERE id = ?1",
        uses: "SELECT id AS row_key, substr(mac, 2, 8) AS key FROM revocations \
               UNION SELECT id, substr(secret, 2, 8) FROM revocations",
    },
    Table {
        what: "agent",
        select: "SELECT name AS row_key, * FROM agents WHERE name > ?1 ORDER BY name LIMIT ?2",
        before: Before::Names,
        label: "name",
        look: agent,
        update: "UPDATE agents SET mac = ?2 WHERE name = ?1",
        uses: "SELECT name AS row_key, substr(mac, 2, 8) AS key FROM agents",
    },
    Table {
        what: "holder of the agent",
        select: "SELECT agent AS row_key, * FROM holders WHERE agent > ?1 ORDER BY agent LIMIT ?2",
        before: Before::Names,
        label: "agent",
        look: holder,
        update: "UPDATE holders SET mac = ?2, secret = ?3 WHERE agent = ?1",
        uses: "SELECT agent AS row_key, substr(mac, 2, 8) AS key FROM holders \
               UNION SELECT agent, substr(secret, 2, 8) FROM holders WHERE secret IS NOT NULL",
    },
];

/// What a walk makes of an account's first row.
pub(crate) fn account(row: &dyn Columns, vault: &Vault) -> Look {
    let mac = column::mac(row, "mac");
    let account = bound::Integration::of(row)?;
    account.verify(vault, mac)?;
    Ok(Anew::of(vault, mac).values(|vault| account.mac(vault), Vec::new()))
}

/// The same of a grant, in a row that has its account's `id` and `kind` as well.
pub(crate) fn grant(row: &dyn Columns, vault: &Vault) -> Look {
    let mac = column::mac(row, "mac");
    let id: IntegrationId = column::parsed(row, "id")?;
    let mut grant = bound::Grant::of(row, id.as_str())?;
    grant.verify(vault, mac)?;
    let mut anew = Anew::of(vault, mac);
    let secret = anew.sealed(&secret_binding(column::text(row, "kind")?, &id), grant.secret)?;
    let proof_key = grant.proof_key;
    let proof_key = proof_key.map(|sealed| anew.sealed(&Binding::ProofKey(&id), sealed));
    let proof_key = proof_key.transpose()?;
    grant.secret = &secret;
    grant.proof_key = proof_key.as_deref();
    let others = vec![Some(secret.clone()), proof_key.clone()];
    Ok(anew.values(|vault| grant.mac(vault), others))
}

/// The same of an access token.
pub(crate) fn token(row: &dyn Columns, vault: &Vault) -> Look {
    let mac = column::mac(row, "mac");
    let integration: IntegrationId = column::parsed(row, "id")?;
    let requested = column::scopes(row, "requested")?;
    let mut token = bound::Token::of(row)?;
    token.verify(vault, mac)?;
    let binding = Binding::AccessToken {
        integration: &integration,
        requested: &requested,
    };
    let mut anew = Anew::of(vault, mac);
    let secret = anew.sealed(&binding, token.secret)?;
    token.secret = &secret;
    Ok(anew.values(|vault| token.mac(vault), vec![Some(secret.clone())]))
}

/// The same of a grant that is still to be revoked.
pub(crate) fn revocation(row: &dyn Columns, vault: &Vault) -> Look {
    let mac = column::mac(row, "mac");
    let id: IntegrationId = column::parsed(row, "id")?;
    let mut revocation = bound::Revocation::of(row)?;
    revocation.verify(vault, mac)?;
    let mut anew = Anew::of(vault, mac);
    let secret = anew.sealed(&Binding::RefreshToken(&id), revocation.secret)?;
    revocation.secret = &secret;
    Ok(anew.values(|vault| revocation.mac(vault), vec![Some(secret.clone())]))
}

/// The same of an agent of the API.
pub(crate) fn agent(row: &dyn Columns, vault: &Vault) -> Look {
    let mac = column::mac(row, "mac");
    let agent = bound::Agent::of(row)?;
    agent.verify(vault, mac)?;
    Ok(Anew::of(vault, mac).values(|vault| agent.mac(vault), Vec::new()))
}

/// The same of an agent's holder.
pub(crate) fn holder(row: &dyn Columns, vault: &Vault) -> Look {
    let mac = column::mac(row, "mac");
    let agent: AgentName = column::parsed(row, "agent")?;
    let mut holder = bound::HolderOf::of(row)?;
    holder.verify(vault, mac)?;
    let binding = Binding::AgentSecret {
        agent: &agent,
        holder: holder.holder,
    };
    let mut anew = Anew::of(vault, mac);
    let secret = holder
        .secret
        .map(|sealed| anew.sealed(&binding, sealed))
        .transpose()?;
    holder.secret = secret.as_deref();
    Ok(anew.values(|vault| holder.mac(vault), vec![secret.clone()]))
}
