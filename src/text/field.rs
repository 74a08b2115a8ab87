//! Fields of JSON files that people and other programs wrote.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// What a field holds that should be a text. A number counts as one: some tools write ids so. `null` counts as none.
#[derive(Default)]
pub enum Field {
    /// Nothing.
    #[default]
    None,
    /// A text.
    Text(String),
    /// Something else.
    Other,
}

impl Field {
    /// The text; an empty one is none.
    ///
    /// # Errors
    /// Where it holds something else.
    pub fn text(self) -> Result<Option<String>, NotText> {
        match self {
            Self::Text(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            Self::None => Ok(None),
            Self::Other => Err(NotText),
        }
    }

    /// The text of a field that may as well be missing.
    pub fn optional(self) -> Option<String> {
        self.text().unwrap_or_default()
    }
}

/// A field is of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyField)
    }
}

struct AnyField;

impl<'de> Visitor<'de> for AnyField {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Field, E> {
        Ok(Field::Text(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
        Ok(Field::Text(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Field, E> {
        Ok(Field::Text(number.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Field, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_text_and_null_is_none() {
        let read = |json: &str| serde_json::from_str::<Field>(json).unwrap().text();
        assert_eq!(read("\"a\""), Ok(Some("a".to_owned())));
        assert_eq!(read("104"), Ok(Some("104".to_owned())));
        assert_eq!(read("-1"), Ok(Some("-1".to_owned())));
        for none in ["null", "\"\""] {
            assert_eq!(read(none), Ok(None), "{none}");
        }
        for other in ["1.5", "true", "[\"a\", {}]", "{\"a\": [1]}"] {
            assert_eq!(read(other), Err(NotText), "{other}");
        }
    }
}
