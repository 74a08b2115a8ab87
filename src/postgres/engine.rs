//! `PostgreSQL` behind the seam that the rooms of tables speak through.

use std::error::Error;

use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked},
};

use crate::{
    sql::{Cell, Columns, Value},
    store::RecordFault,
};

/// A cell as the server sends it.
struct Sent<'a>(Cell<'a>);

impl<'a> FromSql<'a> for Sent<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match *kind {
            Type::INT8 => Cell::Integer(i64::from_sql(kind, raw)?),
            Type::INT4 => Cell::Integer(i32::from_sql(kind, raw)?.into()),
            Type::BOOL => Cell::Integer(bool::from_sql(kind, raw)?.into()),
            Type::TEXT | Type::VARCHAR | Type::NAME => Cell::Text(raw),
            Type::BYTEA => Cell::Bytes(raw),
            _ => Cell::Other,
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Cell::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn found(cell: Result<Sent<'_>, tokio_postgres::Error>) -> Result<Cell<'_>, RecordFault> {
    cell.map(|sent| sent.0)
        .map_err(|error| RecordFault::NoColumn(error.to_string()))
}

impl Columns for Row {
    fn cell(&self, name: &str) -> Result<Cell<'_>, RecordFault> {
        found(self.try_get(name))
    }

    fn first(&self) -> Result<Cell<'_>, RecordFault> {
        found(self.try_get(0))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Integer(value) => value.to_sql(kind, out),
            Self::Text(value) => value.to_sql(kind, out),
            Self::Bytes(value) => value.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::TEXT, Type::BYTEA].contains(kind)
    }

    to_sql_checked!();
}

/// The type that the server is told of a value.
pub(super) fn kind(value: &Value<'_>) -> Type {
    match value {
        Value::Integer(_) => Type::INT8,
        Value::Text(_) => Type::TEXT,
        Value::Bytes(_) => Type::BYTEA,
    }
}
