//! The columns that say in which health a grant is.

use rusqlite::Row;

use crate::{
    sqlite::column::{self, Unreadable},
    store::Health,
    text,
};

pub(super) fn health_columns(health: &Health) -> (&'static str, &str) {
    match health {
        Health::Active => ("active", ""),
        Health::ReconnectRequired(reason) => ("reconnect_required", reason),
        Health::Revoked(reason) => ("revoked", reason),
        Health::Disabled(reason) => ("disabled", reason),
        Health::Misconfigured(reason) => ("misconfigured", reason),
    }
}

pub(super) fn health(row: &Row<'_>) -> Result<Health, Unreadable> {
    let reason = || column::text(row, "health_reason").map(str::to_owned);
    match column::text(row, "health")? {
        "active" => Ok(Health::Active),
        "reconnect_required" => reason().map(Health::ReconnectRequired),
        "revoked" => reason().map(Health::Revoked),
        "disabled" => reason().map(Health::Disabled),
        "misconfigured" => reason().map(Health::Misconfigured),
        other => Err(format!("its health `{}` is unknown", text::quoted(other, 80))),
    }
}
