//! The seals that the configuration names.

use crate::{
    config::KeySection,
    seal::{Place, Seal, SealError},
    secret::Key,
    store::KeyRecord,
    vault::KeyId,
};

/// The seal that wraps, and those from before, which still unwrap. No `Debug`: they may hold master keys.
pub struct Seals {
    pub(super) current: Seal,
    pub(super) previous: Vec<Seal>,
}

impl Seals {
    /// Those of `key.source` and `key.previous`. Local master keys are read at once; others are not asked yet.
    ///
    /// # Errors
    /// A source that cannot be read, or what it holds is no key, with the source's name.
    pub async fn configured(section: &KeySection) -> anyhow::Result<Self> {
        let current = Seal::configured(&section.source, section).await?;
        let mut previous = Vec::new();
        for source in &section.previous {
            previous.push(Seal::configured(source, section).await?);
        }
        Ok(Self { current, previous })
    }

    /// These.
    pub fn of(current: Seal, previous: Vec<Seal>) -> Self {
        Self { current, previous }
    }

    /// Whether one of them is, or holds, this master key.
    pub fn has_master_key(&self, id: KeyId) -> bool {
        self.master_key(id).is_some()
    }

    /// Unwraps a key of the keyring of the database `store`.
    ///
    /// # Errors
    /// Why the seal that may have wrapped it does not; where none of them may, what the one in use says to that.
    pub(super) async fn unwrap(&self, store: &str, record: &KeyRecord) -> Result<Key, SealError> {
        let place = Place {
            store,
            key: record.id,
        };
        let fits = |seal: &&Seal| seal.fits(&record.wrapped);
        let mut fitting = self.all().filter(fits);
        let first = fitting.next().unwrap_or(&self.current);
        let mut unwrapped = first.unwrap(&place, &record.wrapped).await;
        // Of two of one kind, only one has the key.
        for seal in fitting {
            if !matches!(unwrapped, Err(SealError::Refused { .. })) {
                break;
            }
            unwrapped = seal.unwrap(&place, &record.wrapped).await;
        }
        unwrapped
    }

    /// A master key, under which rows of databases from before the keyring lie.
    pub(super) fn master_key(&self, id: KeyId) -> Option<&Key> {
        let mut keys = self.all().filter_map(Seal::master_key);
        keys.find(|key| KeyId::of(key) == id)
    }

    fn all(&self) -> impl Iterator<Item = &Seal> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}
