//! Agents that came over the API.

use rusqlite::{Connection, Row, params};

use crate::{id::AgentName, store::AgentRecord};

use super::{
    column::{self, Unreadable, corrupt},
    fault::Fault,
    rows,
};

/// Every agent, and a sentence for each row that is none.
pub(super) fn load(connection: &Connection, problems: &mut Vec<String>) -> Result<Vec<AgentRecord>, Fault> {
    let select = "SELECT * FROM agents ORDER BY name";
    rows::load(connection, select, problems, |row| {
        let named = || format!("agent {}", column::label(row, "name"));
        read(row).map_err(|reason| corrupt(named(), reason))
    })
}

/// Adds or replaces an agent.
pub(super) fn put(connection: &Connection, agent: &AgentRecord) -> Result<(), Fault> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO agents (name, manifest) VALUES (?, ?)")?
        .execute(params![agent.name.as_str(), agent.manifest])?;
    Ok(())
}

/// Deletes an agent. False when it was not there.
pub(super) fn delete(connection: &Connection, name: &AgentName) -> Result<bool, Fault> {
    let deleted = connection
        .prepare_cached("DELETE FROM agents WHERE name = ?")?
        .execute([name.as_str()])?;
    Ok(deleted > 0)
}

fn read(row: &Row<'_>) -> Result<AgentRecord, Unreadable> {
    Ok(AgentRecord {
        name: column::parsed(row, "name")?,
        manifest: column::text(row, "manifest")?.to_owned(),
    })
}
