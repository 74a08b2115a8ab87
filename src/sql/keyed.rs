//! Walks over the rows that need a key: to see that each is whole, and to seal and bind it anew with the active key.

use std::ops::ControlFlow;

use crate::{
    sql::{Columns, Fault, Sql, Value, column, values},
    store::{KeyUse, RecordFault, RowKey, RowPlace, RowStep, RowsSeen},
    vault::{self, Mac, Sealed, Vault},
};

/// How many rows a step takes: few enough that nobody who waits for a commit notices.
const STEP: u32 = 50;

/// A kind of row that needs a key.
pub(crate) struct Table {
    /// What such a row is called in messages, before its label.
    pub(crate) what: &'static str,
    /// The rows whose `row_key` comes after `?1`, in that order, `?2` of them at most.
    pub(crate) select: &'static str,
    /// What comes before all of its keys.
    pub(crate) before: Before,
    /// The column that names a row in messages.
    pub(crate) label: &'static str,
    /// Opens what is sealed in the row and looks whether it is this broker's; what it is to say in place of that, where
    /// something of it lies under another key than the active one.
    pub(crate) look: fn(&dyn Columns, &Vault) -> Look,
    /// Writes that into the row with the key `?1`, from `?2` on.
    pub(crate) update: &'static str,
    /// The keys that its rows name, each with a row's `row_key`.
    pub(crate) uses: &'static str,
}

/// What a row is to say in place of what it says, if anything; or why it cannot be used.
pub(crate) type Look = Result<Option<Vec<Option<Vec<u8>>>>, RecordFault>;

/// What comes before all keys of a table.
#[derive(Clone, Copy)]
pub(crate) enum Before {
    Numbers,
    Names,
}

fn value_of(key: &RowKey) -> Value<'_> {
    match key {
        RowKey::Number(number) => (*number).into(),
        RowKey::Name(name) => name.into(),
    }
}

/// Looks at the next rows of `tables`, and, if `moves`, writes what is to take their place.
pub(crate) fn step(
    sql: &dyn Sql,
    vault: &Vault,
    tables: &[&[Table]],
    from: &RowPlace,
    moves: bool,
) -> Result<RowStep, Fault> {
    let mut seen = RowsSeen::default();
    let Some(table) = tables.iter().copied().flatten().nth(from.table) else {
        return Ok(RowStep { seen, next: None });
    };
    let after = from.after.clone().unwrap_or(match table.before {
        Before::Numbers => RowKey::Number(i64::MIN),
        Before::Names => RowKey::Name(String::new()),
    });
    let mut last = None;
    let mut anew: Vec<(RowKey, Vec<Option<Vec<u8>>>)> = Vec::new();
    sql.each(table.select, &[value_of(&after), STEP.into()], &mut |row| {
        seen.rows += 1;
        let key = key_of(row, table.before).map_err(|reason| column::corrupt(table.what, reason))?;
        match (table.look)(row, vault) {
            Ok(Some(values)) => anew.push((key.clone(), values)),
            Ok(None) => {}
            Err(reason) => {
                let label = column::label(row, table.label);
                seen.note_unusable(format!("{} {label}: {reason}", table.what));
            }
        }
        last = Some(key);
        Ok(ControlFlow::Continue(()))
    })?;
    if moves {
        seen.moved = anew.len() as u64;
        for (key, others) in &anew {
            let others = others.iter().map(|value| Value::Bytes(value.as_deref()));
            let values: Vec<_> = std::iter::once(value_of(key)).chain(others).collect();
            sql.execute(table.update, &values)?;
        }
    }
    let is_full = seen.rows == u64::from(STEP);
    let next = match last {
        Some(after) if is_full => RowPlace {
            table: from.table,
            after: Some(after),
        },
        _ => RowPlace {
            table: from.table + 1,
            after: None,
        },
    };
    Ok(RowStep {
        seen,
        next: Some(next),
    })
}

fn key_of(row: &dyn Columns, before: Before) -> Result<RowKey, RecordFault> {
    Ok(match before {
        Before::Numbers => RowKey::Number(column::number(row, "row_key")?),
        Before::Names => RowKey::Name(column::text(row, "row_key")?.to_owned()),
    })
}

/// How many rows of `tables` name each key.
pub(crate) fn uses(sql: &dyn Sql, tables: &[&[Table]]) -> Result<Vec<KeyUse>, Fault> {
    let mut found: Vec<KeyUse> = Vec::new();
    for table in tables.iter().copied().flatten() {
        let statement = format!(
            "SELECT key, count(*) AS number FROM ({}) AS named GROUP BY key HAVING length(key) = 8",
            table.uses
        );
        sql.each_once(&statement, values![], &mut |row| {
            let counted = || {
                let key = column::bytes(row, "key")?
                    .iter()
                    .map(|byte| format!("{byte:02x}"));
                Ok::<_, RecordFault>((key.collect::<String>(), column::number::<u64>(row, "number")?))
            };
            let (key, rows) = counted().map_err(|reason| column::corrupt(table.what, reason))?;
            if let Ok(id) = key.parse() {
                match found.iter_mut().find(|known| known.id == id) {
                    Some(known) => known.rows += rows,
                    None => found.push(KeyUse { id, rows }),
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(found)
}

/// How many rows `tables` have.
pub(crate) fn count(sql: &dyn Sql, tables: &[&[Table]]) -> Result<u64, Fault> {
    let mut all = 0;
    for table in tables.iter().copied().flatten() {
        let statement = format!("SELECT count(DISTINCT row_key) FROM ({}) AS named", table.uses);
        all += sql.number(&statement, &[])?.unwrap_or_default().unsigned_abs();
    }
    Ok(all)
}

/// What a row is to say in place of what it says; `None` where all of it lies under the active key.
pub(crate) struct Anew<'a> {
    vault: &'a Vault,
    is_due: bool,
}

impl<'a> Anew<'a> {
    /// Of a row that is bound by `mac`, which was found to be this broker's.
    pub(crate) fn of(vault: &'a Vault, mac: &[u8]) -> Self {
        Self {
            vault,
            is_due: vault::key_of_mac(mac) != Some(vault.active_key()),
        }
    }

    /// What is to be stored in place of `sealed`, which has to open.
    pub(crate) fn sealed(
        &mut self,
        binding: &vault::Binding<'_>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, RecordFault> {
        let sealed = Sealed::from_bytes(sealed.to_vec());
        if let Some(anew) = self.vault.resealed(binding, &sealed)? {
            self.is_due = true;
            return Ok(anew.as_bytes().to_vec());
        }
        // Also what stays where it is has to open.
        self.vault.open(binding, &sealed)?;
        Ok(sealed.as_bytes().to_vec())
    }

    /// The values, the MAC that `bound` makes with the active key first.
    pub(crate) fn values(
        self,
        mac: impl FnOnce(&Vault) -> Mac,
        others: Vec<Option<Vec<u8>>>,
    ) -> Option<Vec<Option<Vec<u8>>>> {
        self.is_due.then(|| {
            let mac = mac(self.vault).as_bytes().to_vec();
            std::iter::once(Some(mac)).chain(others).collect()
        })
    }
}
