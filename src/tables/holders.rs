//! Who holds which agent, and the agents' secrets.

use crate::{
    id::AgentName,
    sql::{
        Columns, Fault, Sql,
        bound::{self, Bound},
        column::{self, corrupt},
        rows, values,
    },
    store::{AlteredRemedy, HolderRecord, RecordFault, StoreError, UnusableRecord},
    vault::{Binding, Sealed, Vault},
};

/// Every row, and what is wrong with those that cannot be read. One that somebody else wrote names a holder that
/// nobody knows: the agent's holder now is another.
pub(crate) fn load(
    sql: &dyn Sql,
    vault: &Vault,
    unusable: &mut Vec<UnusableRecord>,
) -> Result<Vec<HolderRecord>, Fault> {
    let before = unusable.len();
    let mut unknown = Vec::new();
    let select = "SELECT * FROM holders ORDER BY agent";
    let mut holders = rows::load(sql, select, "agent", unusable, |row| {
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

const PUT: &str = "INSERT INTO holders (agent, holder, secret, mac) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (agent) DO UPDATE SET \
                   holder = excluded.holder, secret = excluded.secret, mac = excluded.mac";

/// Adds or replaces `kept`, and deletes the rows of the agents `gone`.
pub(crate) fn change(
    sql: &dyn Sql,
    vault: &Vault,
    kept: &[HolderRecord],
    gone: &[AgentName],
) -> Result<(), Fault> {
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
        let mac = bound.mac(vault);
        sql.execute(
            PUT,
            values![bound.agent, bound.holder, bound.secret, mac.as_bytes()],
        )?;
    }
    for agent in gone {
        sql.execute("DELETE FROM holders WHERE agent = ?1", values![agent.as_str()])?;
    }
    Ok(())
}

/// The next holder of this name is not the one that the row names, and what lies in its directory is another's.
pub(crate) fn disown(sql: &dyn Sql, vault: &Vault, agent: &AgentName) -> Result<(), Fault> {
    let bound = bound::HolderOf {
        agent: agent.as_str(),
        holder: Some(""),
        secret: None,
    };
    let mac = bound.mac(vault);
    sql.execute(
        "UPDATE holders SET holder = ?1, secret = NULL, mac = ?2 WHERE agent = ?3",
        values![bound.holder, mac.as_bytes(), bound.agent],
    )?;
    Ok(())
}

fn read(row: &dyn Columns, vault: &Vault) -> Result<HolderRecord, StoreError> {
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
