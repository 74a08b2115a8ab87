//! Agents that came over the API.

use rusqlite::{Connection, Row, params};

use crate::{
    id::AgentName,
    sqlite::{
        bound::{self, Bound},
        column::{self, corrupt},
        fault::Fault,
        rows,
    },
    store::{AgentRecord, AlteredRemedy, RecordFault, StoreError, UnusableRecord},
    vault::Vault,
};

/// Every agent, and what is wrong with the rows that are none.
pub(super) fn load(
    connection: &Connection,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<AgentRecord>, Fault> {
    let select = "SELECT * FROM agents ORDER BY name";
    rows::load(connection, select, "name", unusable, |row| read(row, vault))
}

/// Adds or replaces an agent.
pub(super) fn put(connection: &Connection, vault: &Vault, agent: &AgentRecord) -> Result<(), Fault> {
    let bound = bound::Agent {
        name: agent.name.as_str(),
        manifest: &agent.manifest,
    };
    connection
        .prepare_cached("INSERT OR REPLACE INTO agents (name, manifest, mac) VALUES (?, ?, ?)")?
        .execute(params![bound.name, bound.manifest, bound.mac(vault).as_bytes()])?;
    Ok(())
}

/// Deletes an agent. False when it was not there.
pub(super) fn delete(connection: &Connection, name: &AgentName) -> Result<bool, Fault> {
    let deleted = connection
        .prepare_cached("DELETE FROM agents WHERE name = ?")?
        .execute([name.as_str()])?;
    Ok(deleted > 0)
}

fn read(row: &Row<'_>, vault: &Vault) -> Result<AgentRecord, StoreError> {
    let name = column::label(row, "name");
    let record = || format!("agent {name}");
    let bound = bound::Agent::of(row).map_err(|reason| corrupt(record(), reason))?;
    bound
        .verify(vault, column::mac(row, "mac"))
        .map_err(|reason| StoreError::Altered {
            record: record(),
            reason,
            remedy: AlteredRemedy::Agent(name.clone()),
        })?;
    let agent = || {
        Ok(AgentRecord {
            name: column::parsed(row, "name")?,
            manifest: bound.manifest.to_owned(),
        })
    };
    agent().map_err(|reason: RecordFault| corrupt(record(), reason))
}
