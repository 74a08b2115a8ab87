//! `SQLite` behind the seam that the rooms of tables speak through.

use std::ops::ControlFlow;

use rusqlite::{
    Connection, Error, Row, Statement, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use crate::{
    sql::{Cell, Columns, Each, Fault, Sql, Value},
    store::RecordFault,
};

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Database(Box::new(error))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(Some(number)) => ValueRef::Integer(*number),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Self::Integer(None) | Self::Text(None) | Self::Bytes(None) => ValueRef::Null,
        }))
    }
}

fn cell(value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Text(text) => Cell::Text(text),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes),
        ValueRef::Real(_) => Cell::Other,
    }
}

impl Columns for Row<'_> {
    fn cell(&self, name: &str) -> Result<Cell<'_>, RecordFault> {
        let value = self.get_ref(name);
        value
            .map(cell)
            .map_err(|error| RecordFault::NoColumn(error.to_string()))
    }

    fn first(&self) -> Result<Cell<'_>, RecordFault> {
        let value = self.get_ref(0);
        value
            .map(cell)
            .map_err(|error| RecordFault::NoColumn(error.to_string()))
    }
}

impl Sql for Connection {
    fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let changed = self
            .prepare_cached(statement)?
            .execute(params_from_iter(values))?;
        Ok(changed as u64)
    }

    fn each(&self, statement: &str, values: &[Value<'_>], each: Each<'_>) -> Result<(), Fault> {
        show(&mut *self.prepare_cached(statement)?, values, each)
    }

    fn each_once(&self, statement: &str, values: &[Value<'_>], each: Each<'_>) -> Result<(), Fault> {
        show(&mut self.prepare(statement)?, values, each)
    }
}

fn show(statement: &mut Statement<'_>, values: &[Value<'_>], each: Each<'_>) -> Result<(), Fault> {
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        if each(row)? == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(())
}
