//! Messages for a key or section that a configuration file has twice.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::secret::shape::is_field_name;

/// What the TOML reader says of it.
pub(super) const MESSAGE: &str = "duplicate key";

/// What to say where the line (from 1) begins a section that an earlier one began.
pub(super) fn section(text: &str, line: usize) -> Option<String> {
    let header = |line: &str| {
        let name = line.trim().strip_prefix('[')?.split_once(']')?.0.trim();
        (!name.starts_with('[')).then(|| name.to_owned())
    };
    let name = header(text.lines().nth(line - 1)?)?;
    let mut before = text.lines().take(line - 1);
    let first = before.position(|line| header(line).as_ref() == Some(&name))? + 1;
    is_plain(&name).then(|| format!("the section [{name}] is in line {first} already: write there"))
}

/// True for the name of a section, which may be repeated.
fn is_plain(name: &str) -> bool {
    name.split('.').all(is_field_name)
}

/// What to say of the key at `again`, where an earlier line gives it.
pub(super) fn key(text: &str, again: &Range<usize>) -> Option<String> {
    let (before, rest) = text.split_at(text.get(..again.start)?.rfind('\n').map_or(0, |end| end + 1));
    let name = rest.get(..again.end - before.len())?.trim();
    let path = match (name.strip_prefix('['), latest_section(before)) {
        (Some(header), _) => header.trim_start_matches('[').to_owned(),
        (None, Some(section)) => format!("{section}.{name}"),
        (None, None) => name.to_owned(),
    };
    let path: Vec<&str> = path.split('.').map(plain_name).collect::<Option<_>>()?;
    let (table, _) = DeTable::parse_recoverable(before);
    let line = before
        .get(..position(table.get_ref(), &path)?)?
        .matches('\n')
        .count()
        + 1;
    let path = path.join(".");
    Some(format!("{path} is in line {line} already: keep one of the two"))
}

/// The section that the end of `text` is in.
fn latest_section(text: &str) -> Option<&str> {
    let line = text
        .lines()
        .rev()
        .find(|line| line.trim_start().starts_with('['))?;
    let (name, _) = line.trim_start().trim_start_matches('[').split_once(']')?;
    Some(name)
}

/// A part of a key, without the quotes and the room around it.
fn plain_name(part: &str) -> Option<&str> {
    let part = part.trim();
    let quoted = |quote| part.strip_prefix(quote).and_then(|part| part.strip_suffix(quote));
    Some(quoted('"').or_else(|| quoted('\'')).unwrap_or(part)).filter(|name| is_field_name(name))
}

/// Where a key is; in the last of several sections of one name.
fn position(table: &DeTable<'_>, path: &[&str]) -> Option<usize> {
    let (name, inner) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    if inner.is_empty() {
        return Some(key.span().start);
    }
    match value.get_ref() {
        DeValue::Table(table) => position(table, inner),
        DeValue::Array(sections) => position(sections.iter().next_back()?.get_ref().as_table()?, inner),
        _ => None,
    }
}
