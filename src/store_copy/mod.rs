//! Moves what a file has to a server: `store copy`.

mod tables;

use crate::{
    config::StoreSection,
    postgres_store::PostgresStore,
    sql::{Fault, Sql, Value},
    sqlite_store::DatabaseCopy,
    store::StoreError,
};

use tables::{Kind, TABLES, Table};

/// How many rows of a kind were copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// What they are, for people.
    pub what: &'static str,
    /// How many.
    pub rows: u64,
}

/// Copies all that `source` has into the database of `section`, which has to be empty: all of it or nothing. Secrets and what
/// rows are bound by stay as they are, so that the same keyring opens them. Blocks.
///
/// # Errors
/// Why it cannot be read or written.
pub fn copy(source: &DatabaseCopy, section: &StoreSection) -> Result<Vec<Copied>, StoreError> {
    let mut read = Vec::new();
    for table in &TABLES {
        read.push(source.read(|sql| rows(sql, table))?);
    }
    PostgresStore::fill(section, |sql| {
        let mut copied = Vec::new();
        for (table, rows) in TABLES.iter().zip(&read) {
            for row in rows {
                let values: Vec<Value<'_>> = row.iter().map(Held::value).collect();
                sql.execute(table.insert, &values)?;
            }
            if let Some(what) = table.what {
                let rows = rows.len() as u64;
                copied.push(Copied { what, rows });
            }
        }
        Ok(copied)
    })
}

/// What is in a column, until it is written.
enum Held {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Held {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Integer(number) => Value::Integer(*number),
            Self::Text(text) => Value::Text(text.as_deref()),
            Self::Bytes(bytes) => Value::Bytes(bytes.as_deref()),
        }
    }
}

fn rows(sql: &dyn Sql, table: &Table) -> Result<Vec<Vec<Held>>, Fault> {
    use crate::sql::column::{bytes_or_none, corrupt, number_or_none, text_or_none};
    sql.all(table.select, &[], |row| {
        let held = table.columns.iter().map(|(name, kind)| {
            let held = match kind {
                Kind::Integer => number_or_none(row, name).map(Held::Integer),
                Kind::Text => text_or_none(row, name).map(|text| Held::Text(text.map(str::to_owned))),
                Kind::Bytes => bytes_or_none(row, name).map(|bytes| Held::Bytes(bytes.map(<[u8]>::to_vec))),
            };
            held.map_err(|reason| Fault::from(corrupt(table.name, reason)))
        });
        held.collect()
    })
}
