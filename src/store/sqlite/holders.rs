//! Who holds which agent, and the agents' secrets.

use rusqlite::{Connection, Row, params};

use crate::{id::AgentName, store::HolderRecord, vault::Sealed};

use super::{
    column::{self, Unreadable, corrupt},
    fault::Fault,
    rows,
};

/// Every row, and a sentence for each that cannot be read.
pub(super) fn load(connection: &Connection, problems: &mut Vec<String>) -> Result<Vec<HolderRecord>, Fault> {
    let select = "SELECT * FROM holders ORDER BY agent";
    rows::load(connection, select, problems, |row| {
        let named = || format!("holder of the agent {}", column::label(row, "agent"));
        read(row).map_err(|reason| corrupt(named(), reason))
    })
}

/// Adds or replaces `kept`, and deletes the rows of the agents `gone`.
pub(super) fn change(
    connection: &Connection,
    kept: &[HolderRecord],
    gone: &[AgentName],
) -> Result<(), Fault> {
    let mut put = connection
        .prepare_cached("INSERT OR REPLACE INTO holders (agent, holder, secret) VALUES (?, ?, ?)")?;
    for record in kept {
        let secret = record.secret.as_ref().map(Sealed::as_bytes);
        put.execute(params![record.agent.as_str(), record.holder, secret])?;
    }
    let mut delete = connection.prepare_cached("DELETE FROM holders WHERE agent = ?")?;
    for agent in gone {
        delete.execute([agent.as_str()])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> Result<HolderRecord, Unreadable> {
    Ok(HolderRecord {
        agent: column::parsed(row, "agent")?,
        holder: column::text_or_none(row, "holder")?.map(str::to_owned),
        secret: column::sealed_or_none(row, "secret")?,
    })
}
