//! Who holds which agent, and the agents' secrets.

use rusqlite::{Connection, Row, params};

use crate::{
    id::AgentName,
    sqlite::{
        bound::{self, Bound},
        column::{self, corrupt},
        fault::Fault,
        rows,
    },
    store::{AlteredRemedy, HolderRecord, RecordFault, StoreError, UnusableRecord},
    vault::{Binding, Sealed, Vault},
};

/// Every row, and what is wrong with those that cannot be read. One that somebody else wrote names a holder that
/// nobody knows: the agent's holder now is another.
pub(super) fn load(
    connection: &Connection,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<HolderRecord>, Fault> {
    let before = unusable.len();
    let mut unknown = Vec::new();
    let select = "SELECT * FROM holders ORDER BY agent";
    let mut holders = rows::load(connection, select, "agent", unusable, |row| {
        let read = read(row, vault);
        if let (Err(StoreError::Altered { .. }), Ok(agent)) = (&read, column::parsed(row, "agent")) {
            unknown.push(HolderRecord {
                agent,
                holder: Some(String::new()),
                secret: None,
            });
        }
        read
    })?;
    holders.append(&mut unknown);
    // It is written anew when the agent is there.
    unusable[before..]
        .iter_mut()
        .for_each(|record| record.lasts = false);
    Ok(holders)
}

/// Adds or replaces `kept`, and deletes the rows of the agents `gone`.
pub(super) fn change(
    connection: &Connection,
    vault: &Vault,
    kept: &[HolderRecord],
    gone: &[AgentName],
) -> Result<(), Fault> {
    let mut put = connection
        .prepare_cached("INSERT OR REPLACE INTO holders (agent, holder, secret, mac) VALUES (?, ?, ?, ?)")?;
    for record in kept {
        let holder = record.holder.as_deref();
        let binding = Binding::AgentSecret {
            agent: &record.agent,
            holder,
        };
        let secret = record
            .secret
            .as_ref()
            .map(|sealed| vault.current(&binding, sealed));
        let bound = bound::HolderOf {
            agent: record.agent.as_str(),
            holder,
            secret: secret.as_deref().map(Sealed::as_bytes),
        };
        put.execute(params![
            bound.agent,
            bound.holder,
            bound.secret,
            bound.mac(vault).as_bytes()
        ])?;
    }
    let mut delete = connection.prepare_cached("DELETE FROM holders WHERE agent = ?")?;
    for agent in gone {
        delete.execute([agent.as_str()])?;
    }
    Ok(())
}

/// The next holder of this name is not the one that the row names, and what lies in its directory is another's.
pub(super) fn disown(connection: &Connection, vault: &Vault, agent: &AgentName) -> Result<(), Fault> {
    let bound = bound::HolderOf {
        agent: agent.as_str(),
        holder: Some(""),
        secret: None,
    };
    connection
        .prepare_cached("UPDATE holders SET holder = ?, secret = NULL, mac = ? WHERE agent = ?")?
        .execute(params![bound.holder, bound.mac(vault).as_bytes(), bound.agent])?;
    Ok(())
}

fn read(row: &Row<'_>, vault: &Vault) -> Result<HolderRecord, StoreError> {
    let record = || format!("holder of the agent {}", column::label(row, "agent"));
    let bound = bound::HolderOf::of(row).map_err(|reason| corrupt(record(), reason))?;
    bound
        .verify(vault, column::mac(row, "mac"))
        .map_err(|reason| StoreError::Altered {
            record: record(),
            reason,
            remedy: AlteredRemedy::AgentSecret,
        })?;
    let holder = || {
        Ok(HolderRecord {
            agent: column::parsed(row, "agent")?,
            holder: bound.holder.map(str::to_owned),
            secret: column::sealed_or_none(row, "secret")?,
        })
    };
    holder().map_err(|reason: RecordFault| corrupt(record(), reason))
}
