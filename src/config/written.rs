//! What is written on disk, to be compared with what is written there later.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{Data, Origin, Sources, Value};

/// What each key is by the file, or by default, as a variable would spell it; nothing where a variable says it. Secrets are
/// not in it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Written(BTreeMap<&'static str, Option<String>>);

impl Written {
    /// What holds, without where it is written.
    pub(super) fn of(sources: &Sources) -> Self {
        let spelled = |value: Value| match (value.origin, value.data) {
            (Origin::Variable(_), _) => None,
            (_, Data::Text(text)) => Some(text),
            (_, Data::Number(number)) => Some(number.map_or_else(String::new, |number| number.to_string())),
            (_, Data::Flag(flag)) => Some(flag.to_string()),
            (_, Data::List(list)) => Some(list.join(",")),
            (_, Data::Other(kind)) => Some(kind.to_owned()),
        };
        let keys = sources
            .keys()
            .keys()
            .filter_map(|key| Some((key.path, spelled(sources.value(key)?))));
        Self(keys.collect())
    }

    /// The keys that the file has otherwise, and no variable has, in one and the other.
    pub(super) fn differences(one: &Self, other: &Self) -> Vec<&'static str> {
        let keys: BTreeSet<&'static str> = one.0.keys().chain(other.0.keys()).copied().collect();
        let is_variable = |value: Option<&Option<String>>| value.is_some_and(Option::is_none);
        keys.into_iter()
            .filter(|key| {
                let (one, other) = (one.0.get(key), other.0.get(key));
                one != other && !is_variable(one) && !is_variable(other)
            })
            .collect()
    }
}
