//! The columns that say in which health a grant is, and why it does not work.

use std::borrow::Cow;

use crate::{
    cause::GrantCause,
    sql::{Columns, column},
    store::{Health, RecordFault},
    text,
};

/// The texts of the columns `health` and `health_reason`.
pub(crate) fn health_columns(health: &Health) -> (&'static str, Cow<'_, str>) {
    match health {
        Health::Active => ("active", "".into()),
        Health::ReconnectRequired(cause) => ("reconnect_required", written(cause)),
        Health::Revoked(cause) => ("revoked", written(cause)),
        Health::Disabled(cause) => ("disabled", written(cause)),
        Health::Misconfigured(cause) => ("misconfigured", written(cause)),
    }
}

pub(crate) fn health(row: &dyn Columns) -> Result<Health, RecordFault> {
    let cause = || read(column::text(row, "health_reason")?).map(Box::new);
    match column::text(row, "health")? {
        "active" => Ok(Health::Active),
        "reconnect_required" => cause().map(Health::ReconnectRequired),
        "revoked" => cause().map(Health::Revoked),
        "disabled" => cause().map(Health::Disabled),
        "misconfigured" => cause().map(Health::Misconfigured),
        other => Err(RecordFault::Health(text::quoted(other, 80))),
    }
}

/// A cause as JSON; the sentence of an earlier version as it was.
fn written(cause: &GrantCause) -> Cow<'_, str> {
    match cause {
        GrantCause::Written(sentence) => sentence.into(),
        // It holds texts, numbers and times, which are all JSON.
        cause => serde_json::to_string(cause).unwrap_or_default().into(),
    }
}

/// What is kept since version 15 is an object of JSON, what was kept before a sentence.
fn read(kept: &str) -> Result<GrantCause, RecordFault> {
    if kept.starts_with('{') {
        serde_json::from_str(kept).map_err(|error| RecordFault::GrantCause(error.to_string()))
    } else {
        Ok(GrantCause::Written(kept.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_this_program_does_not_know_is_no_sentence() {
        for unknown in ["{", "{}", r#"{"never_heard_of":{}}"#, r#"{"refused":{}}"#] {
            assert!(read(unknown).is_err(), "{unknown}");
        }
        let sentence = "It was {revoked}.";
        assert_eq!(read(sentence), Ok(GrantCause::Written(sentence.to_owned())));
    }
}
