//! Secrets of agents' own.

use rusqlite::{Connection, Row, params};

use crate::{id::AgentName, store::AgentSecretRecord};

use super::{
    column::{self, Unreadable, corrupt},
    fault::Fault,
    rows,
};

/// Every secret, and a sentence for each row that is none.
pub(super) fn load(
    connection: &Connection,
    problems: &mut Vec<String>,
) -> Result<Vec<AgentSecretRecord>, Fault> {
    let select = "SELECT * FROM agent_secrets ORDER BY agent";
    rows::load(connection, select, problems, |row| {
        let named = || format!("secret of the agent {}", column::label(row, "agent"));
        read(row).map_err(|reason| corrupt(named(), reason))
    })
}

/// Adds or replaces `kept`, and deletes those of the agents `gone`.
pub(super) fn change(
    connection: &Connection,
    kept: &[AgentSecretRecord],
    gone: &[AgentName],
) -> Result<(), Fault> {
    let mut put =
        connection.prepare_cached("INSERT OR REPLACE INTO agent_secrets (agent, secret) VALUES (?, ?)")?;
    for record in kept {
        put.execute(params![record.agent.as_str(), record.secret.as_bytes()])?;
    }
    let mut delete = connection.prepare_cached("DELETE FROM agent_secrets WHERE agent = ?")?;
    for agent in gone {
        delete.execute([agent.as_str()])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> Result<AgentSecretRecord, Unreadable> {
    Ok(AgentSecretRecord {
        agent: column::parsed(row, "agent")?,
        secret: column::sealed(row, "secret")?,
    })
}
