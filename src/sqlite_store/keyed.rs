//! The records that need a key: what is sealed in each, what it is bound by, and how it comes to lie under another one.

use rusqlite::Row;

use crate::{
    audit_trail,
    id::{AgentName, IntegrationId},
    sqlite::{
        bound::{self, Bound},
        column,
        keyed::{Anew, Before, Look, Table},
    },
    vault::{Binding, Vault},
};

/// The kind of account whose secret is a key. All others have refresh tokens.
const KEYS: &str = "google-sa";

/// What the secret of an account of this kind is bound to.
pub(super) fn secret_binding<'a>(kind: &str, id: &'a IntegrationId) -> Binding<'a> {
    if kind == KEYS {
        Binding::ServiceAccountKey(id)
    } else {
        Binding::RefreshToken(id)
    }
}

/// Every kind of row that needs a key, also those of the audit trail. A step of a walk names them by their order.
pub(super) const TABLES: [&[Table]; 2] = [&RECORDS, &audit_trail::keyed::TABLES];

const RECORDS: [Table; 6] = [
    Table {
        what: "account",
        select: "SELECT number AS row_key, * FROM integrations WHERE number > ?1 ORDER BY number LIMIT ?2",
        before: Before::Numbers,
        label: "id",
        look: account,
        update: "UPDATE integrations SET mac = ?2 WHERE number = ?1",
        uses: "SELECT number AS row_key, substr(mac, 2, 8) AS key FROM integrations",
    },
    Table {
        what: "grant of",
        select: "SELECT place AS row_key, id, kind, secrets.generation AS grant_generation, version, health, health_reason, \
                 obtained_at, expires_at, secret, proof_key, secrets.mac AS mac \
                 FROM secrets LEFT JOIN integrations ON place = number << 16 AND number = integration \
                 WHERE requested IS NULL AND place > ?1 ORDER BY place LIMIT ?2",
        before: Before::Numbers,
        label: "id",
        look: grant,
        update: "UPDATE secrets SET mac = ?2, secret = ?3, proof_key = ?4 WHERE place = ?1",
        uses: "SELECT place AS row_key, substr(mac, 2, 8) AS key FROM secrets WHERE requested IS NULL \
               UNION SELECT place, substr(secret, 2, 8) FROM secrets WHERE requested IS NULL \
               UNION SELECT place, substr(proof_key, 2, 8) FROM secrets \
               WHERE requested IS NULL AND proof_key IS NOT NULL",
    },
    Table {
        what: "access token of",
        select: "SELECT place AS row_key, id, integrations.generation AS generation, requested, granted, obtained_at, boot, \
                 obtained_uptime, expires_at, secret, secrets.mac AS mac \
                 FROM secrets LEFT JOIN integrations ON number = place >> 16 AND number = integration \
                 WHERE requested IS NOT NULL AND place > ?1 ORDER BY place LIMIT ?2",
        before: Before::Numbers,
        label: "id",
        look: token,
        update: "UPDATE secrets SET mac = ?2, secret = ?3 WHERE place = ?1",
        uses: "SELECT place AS row_key, substr(mac, 2, 8) AS key FROM secrets WHERE requested IS NOT NULL \
               UNION SELECT place, substr(secret, 2, 8) FROM secrets WHERE requested IS NOT NULL",
    },
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

fn account(row: &Row<'_>, vault: &Vault) -> Look {
    let mac = column::mac(row, "mac");
    let account = bound::Integration::of(row)?;
    account.verify(vault, mac)?;
    Ok(Anew::of(vault, mac).values(|vault| account.mac(vault), Vec::new()))
}

fn grant(row: &Row<'_>, vault: &Vault) -> Look {
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
    let others = vec![secret.clone().into(), proof_key.clone().into()];
    Ok(anew.values(|vault| grant.mac(vault), others))
}

fn token(row: &Row<'_>, vault: &Vault) -> Look {
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
    Ok(anew.values(|vault| token.mac(vault), vec![secret.clone().into()]))
}

fn revocation(row: &Row<'_>, vault: &Vault) -> Look {
    let mac = column::mac(row, "mac");
    let id: IntegrationId = column::parsed(row, "id")?;
    let mut revocation = bound::Revocation::of(row)?;
    revocation.verify(vault, mac)?;
    let mut anew = Anew::of(vault, mac);
    let secret = anew.sealed(&Binding::RefreshToken(&id), revocation.secret)?;
    revocation.secret = &secret;
    Ok(anew.values(|vault| revocation.mac(vault), vec![secret.clone().into()]))
}

fn agent(row: &Row<'_>, vault: &Vault) -> Look {
    let mac = column::mac(row, "mac");
    let agent = bound::Agent::of(row)?;
    agent.verify(vault, mac)?;
    Ok(Anew::of(vault, mac).values(|vault| agent.mac(vault), Vec::new()))
}

fn holder(row: &Row<'_>, vault: &Vault) -> Look {
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
    Ok(anew.values(|vault| holder.mac(vault), vec![secret.clone().into()]))
}
