//! Binds what a database from before holds to the master key, once: its rows, and the ends of its audit trail.
//!
//! Whether that is still to be done is told by the key checks, which are sealed as they were before; with the rows,
//! they are sealed anew. Somebody without the key can neither make such a check nor seal a secret in that format, so what
//! they write later is not taken over: only who has a copy of the database from before has such rows, and may put them
//! back in place of what was connected since.

use rusqlite::{Connection, Row, Transaction, params};

use crate::{
    audit_trail,
    id::{AgentName, IntegrationId},
    sql::{
        Fault,
        bound::{self, Bound},
        column,
    },
    sqlite_store::key_check::{self, BoundPart},
    store::RecordFault,
    tables::accounts::secret_binding,
    vault::{Binding, Mac, Sealed, Vault},
};

/// Takes over what is not in `bound` and can be read and opened. The rest stays unbound, and is said when it is loaded.
pub(super) fn run(connection: &mut Connection, vault: &Vault, bound: BoundPart) -> Result<(), Fault> {
    if bound == BoundPart::Everything {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    if bound == BoundPart::Nothing {
        records(&transaction, vault)?;
    }
    audit_trail::ends::take_over(&*transaction, vault)?;
    key_check::take_over(&transaction, vault)?;
    Ok(transaction.commit()?)
}

fn records(transaction: &Transaction<'_>, vault: &Vault) -> Result<(), Fault> {
    if has_bound_rows(transaction)? {
        tracing::error!(
            "a key check from an old copy of the database was put into it: rows that are not bound to the master key are \
             not used"
        );
    } else {
        let rows = accounts(transaction, vault)?
            + tokens(transaction, vault)?
            + revocations(transaction, vault)?
            + agents(transaction, vault)?
            + holders(transaction, vault)?;
        tracing::warn!(
            rows,
            "the database is from before rows were bound to the master key; they are from now on"
        );
    }
    Ok(())
}

/// A database that is still to be taken over has none.
fn has_bound_rows(connection: &Connection) -> Result<bool, Fault> {
    Ok(connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM integrations WHERE mac IS NOT NULL) \
         OR EXISTS (SELECT 1 FROM secrets WHERE mac IS NOT NULL OR substr(secret, 1, 1) <> x'01') \
         OR EXISTS (SELECT 1 FROM revocations WHERE mac IS NOT NULL OR substr(secret, 1, 1) <> x'01') \
         OR EXISTS (SELECT 1 FROM agents WHERE mac IS NOT NULL) \
         OR EXISTS (SELECT 1 FROM holders WHERE mac IS NOT NULL OR substr(secret, 1, 1) <> x'01')",
        [],
        |row| row.get(0),
    )?)
}

/// What `read` makes of each row that `select` finds. One that cannot be taken over is named in the log.
fn read_all<T>(
    connection: &Connection,
    select: &str,
    name: &str,
    read: impl Fn(&Row<'_>) -> Result<T, RecordFault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare(select)?;
    let mut rows = statement.query([])?;
    let mut taken = Vec::new();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(one) => taken.push(one),
            Err(reason) => {
                let record = column::label(row, name);
                tracing::error!(record, %reason, "a record was not bound to the master key");
            }
        }
    }
    Ok(taken)
}

fn sealed_anew(row: &Row<'_>, vault: &Vault, binding: &Binding<'_>) -> Result<Sealed, RecordFault> {
    vault
        .take_over(binding, &column::sealed(row, "secret")?)
        .map_err(RecordFault::from)
}

fn accounts(transaction: &Transaction<'_>, vault: &Vault) -> Result<usize, Fault> {
    struct Account {
        number: i64,
        generation: i64,
        mac: Mac,
        secret: Sealed,
        grant_mac: Mac,
    }
    let read = |row: &Row<'_>| {
        let id: IntegrationId = column::parsed(row, "id")?;
        let binding = secret_binding(column::text(row, "kind")?, &id);
        let secret = sealed_anew(row, vault, &binding)?;
        let account = bound::Integration::of(row)?;
        let mut grant = bound::Grant::of(row, account.id)?;
        grant.secret = secret.as_bytes();
        Ok(Account {
            number: column::number(row, "number")?,
            generation: account.generation,
            mac: account.mac(vault),
            grant_mac: grant.mac(vault),
            secret,
        })
    };
    let select = "SELECT number, id, kind, owner, subject, account, former, authority, scopes, declined, connected_at, \
                  version AS generation, version AS grant_generation, version, health, health_reason, obtained_at, \
                  expires_at, secret, proof_key FROM integrations JOIN secrets ON place = number << 16";
    let taken = read_all(transaction, select, "id", read)?;
    for account in &taken {
        transaction
            .prepare_cached("UPDATE integrations SET generation = ?2, mac = ?3 WHERE number = ?1")?
            .execute(params![
                account.number,
                account.generation,
                account.mac.as_bytes()
            ])?;
        transaction
            .prepare_cached(
                "UPDATE secrets SET generation = ?2, mac = ?3, secret = ?4 WHERE place = ?1 << 16",
            )?
            .execute(params![
                account.number,
                account.generation,
                account.grant_mac.as_bytes(),
                account.secret.as_bytes(),
            ])?;
    }
    Ok(taken.len())
}

fn tokens(transaction: &Transaction<'_>, vault: &Vault) -> Result<usize, Fault> {
    let read = |row: &Row<'_>| {
        let integration: IntegrationId = column::parsed(row, "id")?;
        let requested = column::scopes(row, "requested")?;
        let binding = Binding::AccessToken {
            integration: &integration,
            requested: &requested,
        };
        let secret = sealed_anew(row, vault, &binding)?;
        let mut token = bound::Token::of(row)?;
        token.secret = secret.as_bytes();
        let place: i64 = column::number(row, "place")?;
        Ok((place, token.mac(vault), secret))
    };
    let select = "SELECT token.place AS place, id, grants.version AS generation, token.requested AS requested, \
                  token.granted AS granted, token.obtained_at AS obtained_at, token.boot AS boot, \
                  token.obtained_uptime AS obtained_uptime, token.expires_at AS expires_at, \
                  token.secret AS secret FROM secrets AS token JOIN integrations ON number = token.integration \
                  JOIN secrets AS grants ON grants.place = number << 16 WHERE token.requested IS NOT NULL";
    let taken = read_all(transaction, select, "id", read)?;
    for (place, mac, secret) in &taken {
        transaction
            .prepare_cached("UPDATE secrets SET mac = ?2, secret = ?3 WHERE place = ?1")?
            .execute(params![place, mac.as_bytes(), secret.as_bytes()])?;
    }
    Ok(taken.len())
}

fn revocations(transaction: &Transaction<'_>, vault: &Vault) -> Result<usize, Fault> {
    let read = |row: &Row<'_>| {
        let id: IntegrationId = column::parsed(row, "id")?;
        let secret = sealed_anew(row, vault, &Binding::RefreshToken(&id))?;
        let mut revocation = bound::Revocation::of(row)?;
        revocation.secret = secret.as_bytes();
        Ok((id.clone(), revocation.mac(vault), secret))
    };
    let taken = read_all(transaction, "SELECT * FROM revocations", "id", read)?;
    for (id, mac, secret) in &taken {
        transaction
            .prepare_cached("UPDATE revocations SET mac = ?2, secret = ?3 WHERE id = ?1")?
            .execute(params![id.as_str(), mac.as_bytes(), secret.as_bytes()])?;
    }
    Ok(taken.len())
}

fn agents(transaction: &Transaction<'_>, vault: &Vault) -> Result<usize, Fault> {
    let read = |row: &Row<'_>| {
        let agent = bound::Agent::of(row)?;
        Ok((agent.name.to_owned(), agent.mac(vault)))
    };
    let taken = read_all(transaction, "SELECT * FROM agents", "name", read)?;
    for (name, mac) in &taken {
        transaction
            .prepare_cached("UPDATE agents SET mac = ?2 WHERE name = ?1")?
            .execute(params![name, mac.as_bytes()])?;
    }
    Ok(taken.len())
}

fn holders(transaction: &Transaction<'_>, vault: &Vault) -> Result<usize, Fault> {
    let read = |row: &Row<'_>| {
        let agent: AgentName = column::parsed(row, "agent")?;
        let mut holder = bound::HolderOf::of(row)?;
        let binding = Binding::AgentSecret {
            agent: &agent,
            holder: holder.holder,
        };
        let sealed = match holder.secret {
            Some(_) => Some(sealed_anew(row, vault, &binding)?),
            None => None,
        };
        holder.secret = sealed.as_ref().map(Sealed::as_bytes);
        Ok((agent.clone(), holder.mac(vault), sealed))
    };
    let taken = read_all(transaction, "SELECT * FROM holders", "agent", read)?;
    for (agent, mac, secret) in &taken {
        transaction
            .prepare_cached("UPDATE holders SET mac = ?2, secret = ?3 WHERE agent = ?1")?
            .execute(params![
                agent.as_str(),
                mac.as_bytes(),
                secret.as_ref().map(Sealed::as_bytes)
            ])?;
    }
    Ok(taken.len())
}
