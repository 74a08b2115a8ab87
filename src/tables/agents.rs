//! Agents that came over the API.

use crate::{
    id::AgentName,
    sql::{
        Columns, Fault, Sql,
        bound::{self, Bound},
        column::{self, corrupt},
        rows, values,
    },
    store::{AgentRecord, AlteredRemedy, RecordFault, StoreError, UnusableRecord},
    vault::Vault,
};

/// Every agent, and what is wrong with the rows that are none.
pub(crate) fn load(
    sql: &dyn Sql,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<AgentRecord>, Fault> {
    let select = "SELECT * FROM agents ORDER BY name";
    rows::load(sql, select, "name", unusable, |row| read(row, vault))
}

/// Adds or replaces an agent.
pub(crate) fn put(sql: &dyn Sql, vault: &Vault, agent: &AgentRecord) -> Result<(), Fault> {
    let bound = bound::Agent {
        name: agent.name.as_str(),
        manifest: &agent.manifest,
    };
    let mac = bound.mac(vault);
    sql.execute(
        "INSERT INTO agents (name, manifest, mac) VALUES (?1, ?2, ?3) \
         ON CONFLICT (name) DO UPDATE SET manifest = excluded.manifest, mac = excluded.mac",
        values![bound.name, bound.manifest, mac.as_bytes()],
    )?;
    Ok(())
}

/// Deletes an agent. False when it was not there.
pub(crate) fn delete(sql: &dyn Sql, name: &AgentName) -> Result<bool, Fault> {
    let deleted = sql.execute("DELETE FROM agents WHERE name = ?1", values![name.as_str()])?;
    Ok(deleted > 0)
}

fn read(row: &dyn Columns, vault: &Vault) -> Result<AgentRecord, StoreError> {
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
