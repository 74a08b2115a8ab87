//! Walks over the rows that need a key: to see that each is whole, and to seal and bind it anew with the active key.

use rusqlite::{
    Connection, Row, ToSql, params,
    types::{ToSqlOutput, Value, ValueRef},
};

use crate::{
    sqlite::{column, fault::Fault},
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
    pub(crate) look: fn(&Row<'_>, &Vault) -> Look,
    /// Writes that into the row with the key `?1`, from `?2` on.
    pub(crate) update: &'static str,
    /// The keys that its rows name, each with a row's `row_key`.
    pub(crate) uses: &'static str,
}

/// What a row is to say in place of what it says, if anything; or why it cannot be used.
pub(crate) type Look = Result<Option<Vec<Value>>, RecordFault>;

/// What comes before all keys of a table.
#[derive(Clone, Copy)]
pub(crate) enum Before {
    Numbers,
    Names,
}

impl ToSql for RowKey {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Number(number) => number.to_sql(),
            Self::Name(name) => name.to_sql(),
        }
    }
}

/// Looks at the next rows of `tables`, and, if `moves`, writes what is to take their place.
pub(crate) fn step(
    connection: &Connection,
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
    let mut anew: Vec<(RowKey, Vec<Value>)> = Vec::new();
    let mut statement = connection.prepare_cached(table.select)?;
    let mut rows = statement.query(params![after, STEP])?;
    while let Some(row) = rows.next()? {
        seen.rows += 1;
        let key = key_of(row)?;
        match (table.look)(row, vault) {
            Ok(Some(values)) => anew.push((key.clone(), values)),
            Ok(None) => {}
            Err(reason) => {
                let label = column::label(row, table.label);
                seen.note_unusable(format!("{} {label}: {reason}", table.what));
            }
        }
        last = Some(key);
    }
    drop(rows);
    if moves {
        seen.moved = anew.len() as u64;
        let mut update = connection.prepare_cached(table.update)?;
        for (key, values) in &anew {
            let all =
                std::iter::once(key as &dyn ToSql).chain(values.iter().map(|value| value as &dyn ToSql));
            update.execute(rusqlite::params_from_iter(all))?;
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

fn key_of(row: &Row<'_>) -> rusqlite::Result<RowKey> {
    Ok(match row.get_ref("row_key")? {
        ValueRef::Integer(number) => RowKey::Number(number),
        other => RowKey::Name(String::from_utf8_lossy(other.as_bytes().unwrap_or_default()).into_owned()),
    })
}

/// How many rows of `tables` name each key.
pub(crate) fn uses(connection: &Connection, tables: &[&[Table]]) -> Result<Vec<KeyUse>, Fault> {
    let mut found: Vec<KeyUse> = Vec::new();
    for table in tables.iter().copied().flatten() {
        let sql = format!(
            "SELECT lower(hex(key)) AS key, count(*) AS rows FROM ({}) GROUP BY 1 HAVING length(key) = 8",
            table.uses
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (key, count): (String, i64) = (row.get("key")?, row.get("rows")?);
            let Ok(id) = key.parse() else { continue };
            let count = count.unsigned_abs();
            match found.iter_mut().find(|known| known.id == id) {
                Some(known) => known.rows += count,
                None => found.push(KeyUse { id, rows: count }),
            }
        }
    }
    Ok(found)
}

/// How many rows `tables` have.
pub(crate) fn count(connection: &Connection, tables: &[&[Table]]) -> Result<u64, Fault> {
    let mut all = 0;
    for table in tables.iter().copied().flatten() {
        let sql = format!("SELECT count(DISTINCT row_key) FROM ({})", table.uses);
        let rows: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        all += rows.unsigned_abs();
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
    pub(crate) fn values(self, mac: impl FnOnce(&Vault) -> Mac, others: Vec<Value>) -> Option<Vec<Value>> {
        self.is_due.then(|| {
            let mac = mac(self.vault).as_bytes().to_vec();
            std::iter::once(Value::Blob(mac)).chain(others).collect()
        })
    }
}
