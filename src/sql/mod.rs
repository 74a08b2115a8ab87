//! A database as the rooms that keep tables in it see it, whichever it is: statements, values, rows, and rows that are bound to
//! the keyring.
//!
//! Statements are in the part of SQL that `SQLite` and `PostgreSQL` have in common. Their values are `?1`, `?2` and so on.

pub(crate) mod bound;
mod cell;
pub(crate) mod column;
mod fault;
pub(crate) mod keyed;
pub(crate) mod rows;
mod value;

use std::ops::ControlFlow;

pub(crate) use cell::{Cell, Columns};
pub(crate) use fault::Fault;
pub(crate) use value::{Value, values};

/// What a row is shown to, until it wants no more.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&dyn Columns) -> Result<ControlFlow<()>, Fault>;

/// A transaction. While rows of it are read, nothing else is asked of it.
pub(crate) trait Sql {
    /// Changes rows; returns how many.
    fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<u64, Fault>;

    /// Shows rows, in order.
    fn each(&self, statement: &str, values: &[Value<'_>], each: Each<'_>) -> Result<(), Fault>;

    /// The same, of a statement that is seldom asked, or never again.
    fn each_once(&self, statement: &str, values: &[Value<'_>], each: Each<'_>) -> Result<(), Fault>;
}

impl dyn Sql + '_ {
    /// What `read` makes of the first row, if there is one.
    pub(crate) fn one<T>(
        &self,
        statement: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&dyn Columns) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let mut found = None;
        self.each(statement, values, &mut |row| {
            found = Some(read(row)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// What `read` makes of every row.
    pub(crate) fn all<T>(
        &self,
        statement: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&dyn Columns) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let mut found = Vec::new();
        self.each(statement, values, &mut |row| {
            found.push(read(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// The number in the first column of the first row; `None` where there is no row, or nothing in it.
    pub(crate) fn number(&self, statement: &str, values: &[Value<'_>]) -> Result<Option<i64>, Fault> {
        let found = self.one(statement, values, |row| {
            Ok(column::first(row).map_err(|reason| column::corrupt("of a number", reason))?)
        })?;
        Ok(found.flatten())
    }
}
