//! The keyring, as JSON shows it.

use jiff::Timestamp;
use serde::Serialize;

use crate::proto::{self, v1};

/// The keyring.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct Keyring {
    /// Its keys, the oldest first.
    pub keys: Vec<KeyringKey>,
    /// The seal in use.
    pub seal: String,
    /// The key that it wraps with now.
    pub seal_key: String,
    /// Why it does not say which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal_problem: Option<String>,
    /// For how many days a retired key is kept.
    pub keep_days: u32,
}

/// A key of it.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct KeyringKey {
    /// Which.
    pub id: String,
    /// What it is for: `pending`, `active`, `retiring` or `retired`.
    pub state: &'static str,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it came to its state.
    pub changed_at: Option<Timestamp>,
    /// How many rows need it.
    pub rows: u64,
    /// What wraps it.
    pub seal: String,
    /// That one's own key.
    pub seal_key: String,
}

impl From<v1::GetKeysResponse> for Keyring {
    fn from(from: v1::GetKeysResponse) -> Self {
        Self {
            keys: from.keys.into_iter().map(Into::into).collect(),
            seal: from.seal,
            seal_key: from.seal_key,
            seal_problem: Some(from.seal_problem).filter(|problem| !problem.is_empty()),
            keep_days: from.keep_days,
        }
    }
}

impl From<v1::KeyringKey> for KeyringKey {
    fn from(from: v1::KeyringKey) -> Self {
        let state = match from.state() {
            v1::KeyState::Unspecified => "unknown",
            v1::KeyState::Pending => "pending",
            v1::KeyState::Active => "active",
            v1::KeyState::Retiring => "retiring",
            v1::KeyState::Retired => "retired",
        };
        Self {
            id: from.id,
            state,
            created_at: proto::moment(from.created_at),
            changed_at: proto::moment(from.changed_at),
            rows: from.rows,
            seal: from.seal,
            seal_key: from.seal_key,
        }
    }
}
