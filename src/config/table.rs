//! Tables that serde reads as a whole, such as an entry of `[[providers]]`: which keys they know, and which they do not.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor, value},
};
use toml::Spanned;

use super::{suggest, toml_error::line_of};
use crate::secret::shape::is_field_name;

/// The keys of a table, with their places, and nothing else of it.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Keys(BTreeMap<Spanned<String>, toml::Value>);

impl Keys {
    /// The first in the file that is none of `known`: where it is, and what is said of it.
    pub(super) fn first_unknown(&self, known: &[&str]) -> Option<(usize, String)> {
        let unknown = self
            .0
            .keys()
            .filter(|key| !known.contains(&key.as_ref().as_str()));
        let first = unknown.min_by_key(|key| key.span().start)?;
        Some((
            first.span().start,
            no_such_key(first.as_ref(), known.iter().copied()),
        ))
    }

    /// Each with the line of `text`, from which they were read.
    pub(super) fn lines(&self, text: &str) -> BTreeMap<String, usize> {
        let line = |key: &Spanned<String>| (key.as_ref().clone(), line_of(text, key.span().start));
        self.0.keys().map(line).collect()
    }

    /// The first in the file that is most likely a slip of one of `needed` that is not there: where it is, and what is said
    /// of it.
    pub(super) fn slip_of(&self, needed: &[&str]) -> Option<(usize, String)> {
        let has = |wanted: &str| self.0.keys().any(|key| key.as_ref() == wanted);
        let missing = || needed.iter().copied().filter(|wanted| !has(wanted));
        let is_slip = |key: &&Spanned<String>| {
            !needed.contains(&key.as_ref().as_str()) && suggest::closest(key.as_ref(), missing()).is_some()
        };
        let slip = self.0.keys().filter(is_slip).min_by_key(|key| key.span().start)?;
        Some((slip.span().start, no_such_key(slip.as_ref(), missing())))
    }
}

/// What is said of a key that there is not.
pub(super) fn no_such_key<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    no_such(key, suggest::closest(key, known))
}

/// The same, where it is known what was meant, or that nothing is like it.
pub(super) fn no_such(key: &str, meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("{}there is no such key: did you mean {meant}?", named(key)),
        None => format!("{}there is no such key", named(key)),
    }
}

/// A key before what is said of it, where it can be the name of one: a file that is no configuration may hold a secret.
fn named(path: &str) -> String {
    if path.split('.').all(is_field_name) {
        format!("{path}: ")
    } else {
        String::new()
    }
}

/// The keys that the type `T` reads of a table.
pub(super) fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // The reader's own list is all that is wanted of it.
    drop(T::deserialize(ListOf(&mut keys)));
    keys
}

/// Notes which fields a derived reader asks for, and gives it none.
struct ListOf<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for ListOf<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("a list of fields has no values"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "read for its fields' names")]
    struct Example {
        issuer: String,
        #[serde(rename = "use")]
        usage: Option<u8>,
    }

    #[test]
    fn the_keys_of_a_table_are_those_that_its_reader_takes() {
        assert_eq!(keys_of::<Example>(), ["issuer", "use"]);
        assert!(keys_of::<String>().is_empty());
    }

    #[test]
    fn the_first_key_in_the_file_that_nobody_knows_is_named_with_what_was_meant() {
        let keys: Keys = toml::from_str("use = 1\nzzz = 1\nisuer = 'x'\n").unwrap();
        let known = keys_of::<Example>();
        assert_eq!(
            keys.first_unknown(known),
            Some((8, "zzz: there is no such key".to_owned()))
        );
        let keys: Keys = toml::from_str("isuer = 'x'\n").unwrap();
        let said = "isuer: there is no such key: did you mean issuer?".to_owned();
        assert_eq!(keys.first_unknown(known), Some((0, said)));
        let keys: Keys = toml::from_str("issuer = 3\n").unwrap();
        assert_eq!(keys.first_unknown(known), None);
    }
}
