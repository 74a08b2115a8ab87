//! The keyring as it is kept: its keys, wrapped by a seal, and what lies under each.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use crate::{
    seal::WrappedKey,
    secret::Key,
    store::{Store, future::StoreFuture},
    telemetry::audit::AuditEvent,
    vault::{self, Binding, Field, KeyId, Sealed, Vault, VaultError},
};

/// What a key of the keyring is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyState {
    /// It is kept, and nothing lies under it yet.
    Pending,
    /// It seals.
    Active,
    /// It sealed once, and what lies under it still opens. Nothing new does.
    Retiring,
    /// Nothing lies under it any more. It is kept for backups from before.
    Retired,
}

impl KeyState {
    /// As it is kept, and as people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`KeyState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is none of pending, active, retiring, retired")]
pub struct InvalidKeyState;

impl FromStr for KeyState {
    type Err = InvalidKeyState;

    fn from_str(text: &str) -> Result<Self, InvalidKeyState> {
        [Self::Pending, Self::Active, Self::Retiring, Self::Retired]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(InvalidKeyState)
    }
}

/// What a retired key is said to be wrapped by.
const KEPT_BY: &str = "keyring";

/// A key of the keyring, wrapped.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Which.
    pub id: KeyId,
    /// What it is for.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it came to its state.
    pub changed_at: Timestamp,
    /// The key itself, as the seal wrapped it; a retired one, as the active key sealed it ([`Self::keep`]).
    pub wrapped: WrappedKey,
    /// Binds id, state and times to the key itself: who does not have it cannot change them.
    pub mac: Vec<u8>,
    /// Binds the same to the active key: who has an old key alone cannot make it count again.
    pub active_mac: Vec<u8>,
}

impl KeyRecord {
    const PURPOSE: &'static str = "keyring key";
    const CONFIRMED: &'static str = "keyring key beside the active one";

    /// The record of `key` in the keyring of the database `store`, bound to it.
    pub fn new(
        store: &str,
        key: &Key,
        state: KeyState,
        created_at: Timestamp,
        now: Timestamp,
        wrapped: WrappedKey,
    ) -> Self {
        // As they are kept.
        let whole = |time: Timestamp| Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time);
        let mut record = Self {
            id: KeyId::of(key),
            state,
            created_at: whole(created_at),
            changed_at: whole(now),
            wrapped,
            mac: Vec::new(),
            active_mac: Vec::new(),
        };
        record.mac = vault::mac_with(key, Self::PURPOSE, &record.fields(store))
            .as_bytes()
            .to_vec();
        record
    }

    /// The same in another state.
    #[must_use]
    pub fn turned(&self, store: &str, key: &Key, state: KeyState, now: Timestamp) -> Self {
        Self::new(store, key, state, self.created_at, now, self.wrapped.clone())
    }

    /// Keeps the key for backups: from now on it is found with the vault's active key alone, and with no seal.
    pub fn keep(&mut self, vault: &Vault, key: &Key) {
        self.lay_under(vault, &vault.seal(&Binding::KeptKey(self.id), key.expose()));
    }

    /// The same for a key that is kept, after another key became the active one.
    ///
    /// # Errors
    /// Why it does not open.
    pub fn keep_on(&mut self, vault: &Vault) -> Result<(), VaultError> {
        let sealed = Sealed::from_bytes(self.wrapped.bytes.clone());
        if let Some(anew) = vault.resealed(&Binding::KeptKey(self.id), &sealed)? {
            self.lay_under(vault, &anew);
        }
        Ok(())
    }

    fn lay_under(&mut self, vault: &Vault, sealed: &Sealed) {
        self.wrapped = WrappedKey {
            seal: KEPT_BY.to_owned(),
            seal_key: vault.active_key().to_string(),
            bytes: sealed.as_bytes().to_vec(),
        };
    }

    /// Whether no seal unwraps it, but the active key.
    pub fn is_kept(&self) -> bool {
        self.wrapped.seal == KEPT_BY
    }

    /// The key that was kept.
    ///
    /// # Errors
    /// Why it does not open.
    pub fn kept(&self, vault: &Vault) -> Result<Key, VaultError> {
        let binding = Binding::KeptKey(self.id);
        let opened = vault.open(&binding, &Sealed::from_bytes(self.wrapped.bytes.clone()))?;
        let bytes = opened.as_slice().try_into().map(Key::new);
        bytes
            .ok()
            .filter(|key| KeyId::of(key) == self.id)
            .ok_or_else(|| VaultError::Tampered {
                what: binding.to_string(),
                key: vault.active_key(),
            })
    }

    /// Whether all but the wrapped key itself was written by who has the key.
    pub fn is_of(&self, store: &str, key: &Key) -> bool {
        vault::is_mac_with(key, Self::PURPOSE, &self.fields(store), &self.mac)
    }

    fn is_confirmed(&self, store: &str, active: &Key) -> bool {
        vault::is_mac_with(
            active,
            Self::CONFIRMED,
            &self.named_fields(store),
            &self.active_mac,
        )
    }

    fn confirm(&mut self, store: &str, active: &Key) {
        let mac = vault::mac_with(active, Self::CONFIRMED, &self.named_fields(store));
        self.active_mac = mac.as_bytes().to_vec();
    }

    fn named_fields<'a>(&'a self, store: &'a str) -> Vec<Field<'a>> {
        // The MAC itself names the key.
        let own = Field::from(self.mac.as_slice());
        self.fields(store).into_iter().chain([own]).collect()
    }

    fn fields<'a>(&self, store: &'a str) -> [Field<'a>; 4] {
        [
            store.into(),
            self.state.as_str().into(),
            self.created_at.as_microsecond().into(),
            self.changed_at.as_microsecond().into(),
        ]
    }
}

/// The keyring of a database.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKeyring {
    /// The database's own name, for as long as it exists: wrapped keys are bound to it.
    pub store: String,
    /// Its keys, the oldest first.
    pub keys: Vec<KeyRecord>,
}

impl StoredKeyring {
    /// The key that seals. There is one in each keyring.
    pub fn active(&self) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| key.state == KeyState::Active)
    }

    /// Binds every record to the active key, which is this one.
    pub fn confirm(&mut self, active: &Key) {
        for record in &mut self.keys {
            record.confirm(&self.store, active);
        }
    }

    /// Which record is not as it was when this key was the active one, if any.
    pub fn unconfirmed(&self, active: &Key) -> Option<KeyId> {
        let mut records = self.keys.iter();
        records
            .find(|record| !record.is_confirmed(&self.store, active))
            .map(|record| record.id)
    }

    /// The retired keys that do not open, and why: backups from their time are of no use without them.
    pub fn lost(&self, vault: &Vault) -> impl Iterator<Item = (&KeyRecord, VaultError)> {
        let retired = self.keys.iter().filter(|key| key.state == KeyState::Retired);
        retired.filter_map(|key| Some((key, key.kept(vault).err()?)))
    }

    /// Another seal wraps this key, which stays what it is.
    pub fn rewrap(&mut self, id: KeyId, wrapped: &WrappedKey) {
        for record in self.keys.iter_mut().filter(|record| record.id == id) {
            record.wrapped = wrapped.clone();
        }
    }

    /// Brings the keys into their order.
    pub fn sort(&mut self) {
        self.keys.sort_by_key(|key| (key.created_at, key.id));
    }

    /// A key, by its id.
    pub fn key(&self, id: KeyId) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| key.id == id)
    }
}

/// The keys that a database says it needs, before it is opened.
#[derive(Clone, PartialEq, Eq)]
pub enum NamedKeys {
    /// Those of its keyring.
    Keyring(StoredKeyring),
    /// Master keys, under which its rows lie: it is from before it had a keyring. None where there is no database.
    Masters(Vec<KeyId>),
}

impl Default for NamedKeys {
    fn default() -> Self {
        Self::Masters(Vec::new())
    }
}

/// What a walk over the rows found, so far or in a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowsSeen {
    /// Rows that were looked at.
    pub rows: u64,
    /// Rows that were sealed, or bound, anew with the active key.
    pub moved: u64,
    /// Rows that do not open or are not this broker's, each named with the reason; the first hundred.
    pub unusable: Vec<String>,
    /// How many of those there are.
    pub unusable_count: u64,
}

impl RowsSeen {
    /// How many unusable rows are named.
    pub const NAMED: usize = 100;

    /// Adds what another step found.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.moved += other.moved;
        self.unusable_count += other.unusable_count;
        let room = Self::NAMED.saturating_sub(self.unusable.len());
        self.unusable.extend(other.unusable.into_iter().take(room));
    }

    /// Notes a row that cannot be used.
    pub fn note_unusable(&mut self, record: String) {
        self.unusable_count += 1;
        if self.unusable.len() < Self::NAMED {
            self.unusable.push(record);
        }
    }
}

/// Where a walk over the rows is. [`RowPlace::default`] is the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowPlace {
    /// Which kind of row.
    pub table: usize,
    /// The key of the last row that was looked at, in that table.
    pub after: Option<RowKey>,
}

/// What a row is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowKey {
    /// A number.
    Number(i64),
    /// A name.
    Name(String),
}

/// A step of a walk over the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowStep {
    /// What it found.
    pub seen: RowsSeen,
    /// Where to go on; `None` at the end.
    pub next: Option<RowPlace>,
}

/// How many rows need a key: their secret, or what they are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// The key that they name.
    pub id: KeyId,
    /// How many.
    pub rows: u64,
}

/// A store of records that lie under the keys of a keyring, which it keeps as well.
pub trait KeyStore: Store {
    /// The keyring as it is now.
    fn keyring(&self) -> StoreFuture<'_, StoredKeyring>;

    /// Puts `after` in the place of `before`. [`StoreError::Conflict`] when that is not what is there.
    fn put_keyring(
        &self,
        before: StoredKeyring,
        after: StoredKeyring,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, ()>;

    /// Seals and binds anew, with the active key, what of the next rows lies under another one.
    fn move_rows(&self, from: RowPlace) -> StoreFuture<'_, RowStep>;

    /// Opens the next rows, and looks whether they are this broker's.
    fn check_rows(&self, from: RowPlace) -> StoreFuture<'_, RowStep>;

    /// How many rows need each key.
    fn key_uses(&self) -> StoreFuture<'_, Vec<KeyUse>>;

    /// How many rows there are that need one.
    fn keyed_rows(&self) -> StoreFuture<'_, u64>;
}
