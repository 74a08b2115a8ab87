//! Reads columns into the program's types. What does not fit is an error that names the column.

use std::{fmt::Display, str::FromStr, sync::Arc};

use jiff::Timestamp;

use crate::{
    capability::ScopeSet,
    id::CapabilityKey,
    sql::cell::{Cell, Columns, Unfit},
    store::{RecordFault, StoreError},
    text,
    vault::Sealed,
};

/// The error for a row with an unreadable column.
pub(crate) fn corrupt(record: impl Into<String>, fault: impl Into<RecordFault>) -> StoreError {
    StoreError::Corrupt {
        record: record.into(),
        fault: fault.into(),
    }
}

fn value<'row, T>(
    row: &'row dyn Columns,
    name: &str,
    read: impl FnOnce(Cell<'row>) -> Result<Option<T>, Unfit>,
) -> Result<Option<T>, RecordFault> {
    read(row.cell(name)?).map_err(|error| unfit(name, error))
}

/// The same of a column that holds something.
fn held<'row, T>(
    row: &'row dyn Columns,
    name: &str,
    read: impl FnOnce(Cell<'row>) -> Result<Option<T>, Unfit>,
) -> Result<T, RecordFault> {
    value(row, name, read)?.ok_or_else(|| unfit(name, Unfit::Type))
}

fn unfit(name: &str, error: impl Display) -> RecordFault {
    RecordFault::Value {
        column: name.to_owned(),
        error: error.to_string(),
    }
}

pub(crate) fn text<'row>(row: &'row dyn Columns, name: &str) -> Result<&'row str, RecordFault> {
    held(row, name, Cell::text)
}

pub(crate) fn text_or_none<'row>(
    row: &'row dyn Columns,
    name: &str,
) -> Result<Option<&'row str>, RecordFault> {
    value(row, name, Cell::text)
}

pub(crate) fn bytes<'row>(row: &'row dyn Columns, name: &str) -> Result<&'row [u8], RecordFault> {
    held(row, name, Cell::bytes)
}

pub(crate) fn bytes_or_none<'row>(
    row: &'row dyn Columns,
    name: &str,
) -> Result<Option<&'row [u8]>, RecordFault> {
    value(row, name, Cell::bytes)
}

/// The MAC of a row: no bytes where there is none.
pub(crate) fn mac<'row>(row: &'row dyn Columns, name: &str) -> &'row [u8] {
    let mac = value(row, name, Cell::bytes);
    mac.ok().flatten().unwrap_or_default()
}

pub(crate) fn parsed<T: FromStr<Err: Display>>(row: &dyn Columns, name: &str) -> Result<T, RecordFault> {
    text(row, name)?.parse().map_err(|error| unfit(name, error))
}

pub(crate) fn scopes(row: &dyn Columns, name: &str) -> Result<ScopeSet, RecordFault> {
    ScopeSet::parse(text(row, name)?).map_err(|error| unfit(name, error))
}

pub(crate) fn keys(row: &dyn Columns, name: &str) -> Result<Arc<[CapabilityKey]>, RecordFault> {
    let words = text(row, name)?.split_ascii_whitespace();
    words
        .map(|key| key.parse().map_err(|error| unfit(name, error)))
        .collect()
}

/// A list of texts, as [`list`] writes it.
pub(crate) fn texts(row: &dyn Columns, name: &str) -> Result<Arc<[String]>, RecordFault> {
    match text(row, name)? {
        "" => Ok(Arc::default()),
        json => serde_json::from_str(json).map_err(|error| unfit(name, error)),
    }
}

/// Texts as a column holds them; nothing for none.
pub(crate) fn list(texts: &[String]) -> String {
    if texts.is_empty() {
        return String::new();
    }
    serde_json::json!(texts).to_string()
}

pub(crate) fn number<T: TryFrom<i64, Error: Display>>(
    row: &dyn Columns,
    name: &str,
) -> Result<T, RecordFault> {
    held(row, name, Cell::integer)?
        .try_into()
        .map_err(|error| unfit(name, error))
}

pub(crate) fn number_or_none(row: &dyn Columns, name: &str) -> Result<Option<i64>, RecordFault> {
    value(row, name, Cell::integer)
}

pub(crate) fn time(row: &dyn Columns, name: &str) -> Result<Timestamp, RecordFault> {
    let micros = held(row, name, Cell::integer)?;
    Timestamp::from_microsecond(micros).map_err(|error| unfit(name, error))
}

pub(crate) fn time_or_none(row: &dyn Columns, name: &str) -> Result<Option<Timestamp>, RecordFault> {
    let micros = value(row, name, Cell::integer)?;
    micros
        .map(Timestamp::from_microsecond)
        .transpose()
        .map_err(|error| unfit(name, error))
}

pub(crate) fn sealed(row: &dyn Columns, name: &str) -> Result<Sealed, RecordFault> {
    held(row, name, Cell::bytes).map(|bytes| Sealed::from_bytes(bytes.to_vec()))
}

pub(crate) fn sealed_or_none(row: &dyn Columns, name: &str) -> Result<Option<Sealed>, RecordFault> {
    let bytes = value(row, name, Cell::bytes)?;
    Ok(bytes.map(|bytes| Sealed::from_bytes(bytes.to_vec())))
}

/// A row's name for an error, whatever is in the column.
pub(crate) fn label(row: &dyn Columns, name: &str) -> String {
    match row.cell(name) {
        Ok(Cell::Text(bytes)) => text::quoted(&String::from_utf8_lossy(bytes), 80),
        _ => format!("without a readable {name}"),
    }
}

/// Which account a row says that it is of. Somebody else may have written it.
pub(crate) fn claim(row: &dyn Columns) -> String {
    format!("{} of {}, as it says", label(row, "account"), label(row, "owner"))
}

/// The number in the first column, if there is something in it.
pub(super) fn first(row: &dyn Columns) -> Result<Option<i64>, RecordFault> {
    row.first()?.integer().map_err(|error| unfit("first", error))
}

/// A time as it is stored: microseconds since 1970.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// A count or place as it is stored. All are counted up from 0 one at a time, so none comes near the limit.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
