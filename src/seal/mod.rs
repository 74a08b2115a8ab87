//! Seals: what wraps the keys of the keyring, so that they can lie in the database.
//!
//! A [`Seal`] is a master key of this program's own (`local`), a KMS plugin of Kubernetes (`kms`), or a key of Vault's or OpenBao's
//! (`transit`). It is asked when the daemon starts and when keys change, never for a renewal.
//! A wrapped key opens at its [`Place`] alone.

mod enclosure;
mod error;
mod kms;
mod local;
mod transit;
mod wrapped;

use std::time::Duration;

use anyhow::Context;

use crate::{
    config::{KeySection, KeySource},
    http_client::Limits,
    secret::Key,
    vault::KeyId,
};

use error::Problem;
pub use error::SealError;
use kms::Kms;
use local::Local;
use transit::Transit;
pub use wrapped::{Place, WrappedKey};

/// What a request to a Transit engine may take.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(3),
    request: Duration::from_secs(10),
    token_answer: 64 * 1024,
    keys_answer: 64 * 1024,
};

/// What wraps keys and unwraps them. No `Debug`: it may hold a master key.
pub struct Seal {
    name: String,
    kind: Kind,
}

enum Kind {
    Local(Local),
    Kms(Kms),
    Transit(Box<Transit>),
}

#[allow(
    clippy::unused_async,
    reason = "a seal that is not this program itself is waited for"
)]
impl Seal {
    /// The seal that a source of the configuration stands for. A local master key is read at once; nobody else is asked yet.
    ///
    /// # Errors
    /// A source that cannot be read ([`crate::config::ConfigError`]), or what it holds is no key
    /// ([`crate::vault::KeyError`]), with the source's name.
    pub async fn configured(source: &KeySource, section: &KeySection) -> anyhow::Result<Self> {
        let kind = match source {
            KeySource::Kms(socket) => Kind::Kms(Kms::new(socket)),
            KeySource::Transit(key) => {
                let section = section.transit.as_ref().with_context(|| {
                    format!(
                        "{source} is asked with a token: set key.transit_token_file to the file that holds it"
                    )
                })?;
                Kind::Transit(Box::new(Transit::new(key, section, LIMITS)?))
            }
            _ => Kind::Local(Local::read(source, section).await?),
        };
        Ok(Self {
            name: source.to_string(),
            kind,
        })
    }

    /// As the configuration names it; a command without its arguments.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this seal can have wrapped that. A local one is known by its master key, wherever that is read from; the
    /// others by their kind, since they keep older keys and may have moved.
    pub fn fits(&self, wrapped: &WrappedKey) -> bool {
        match &self.kind {
            Kind::Local(local) => local.fits(wrapped),
            Kind::Kms(_) => wrapped.kind() == "kms",
            Kind::Transit(_) => wrapped.kind() == "transit",
        }
    }

    /// Wraps a key for one place. Another party has to give back what it encrypted before that counts as wrapped.
    ///
    /// # Errors
    /// [`SealError::Away`] where the seal does not do it now, [`SealError::Unfit`] where it does not give back what it
    /// encrypted, or where what it encrypted shows the key.
    pub async fn wrap(&self, place: &Place<'_>, key: &Key) -> Result<WrappedKey, SealError> {
        let wrapped = match &self.kind {
            Kind::Local(local) => Ok(local.wrap(&self.name, place, key)),
            Kind::Kms(kms) => kms.wrap(&self.name, place, key).await,
            Kind::Transit(transit) => transit.wrap(&self.name, place, key).await,
        };
        wrapped.map_err(|problem| match problem {
            Problem::Away(reason) => self.away(reason),
            Problem::Wrong(reason) => SealError::Unfit {
                seal: self.name.clone(),
                reason,
            },
        })
    }

    /// The key that was wrapped for this place.
    ///
    /// # Errors
    /// [`SealError::Foreign`] where [`Seal::fits`] says no, [`SealError::Refused`] where what is wrapped is no key of this place,
    /// [`SealError::Away`] where the seal does not do it now.
    pub async fn unwrap(&self, place: &Place<'_>, wrapped: &WrappedKey) -> Result<Key, SealError> {
        if !self.fits(wrapped) {
            return Err(self.foreign(place, wrapped));
        }
        match &self.kind {
            Kind::Local(local) => self.answer(place.key, local.unwrap(place, wrapped)),
            Kind::Kms(kms) => self.answer(place.key, kms.unwrap(place, wrapped).await),
            Kind::Transit(transit) => self.answer(place.key, transit.unwrap(place, wrapped).await),
        }
    }

    /// Asks the seal for the id of the key that it wraps with now. It answers only when it is healthy.
    ///
    /// # Errors
    /// [`SealError::Away`].
    pub async fn key_in_use(&self) -> Result<String, SealError> {
        let asked = match &self.kind {
            Kind::Local(local) => Ok(local.key_id()),
            Kind::Kms(kms) => kms.key_in_use().await,
            Kind::Transit(transit) => transit.key_in_use().await,
        };
        asked.map_err(|problem| self.away(problem.into_reason()))
    }

    /// A local seal's master key. Rows of databases from before the keyring lie under it itself.
    pub fn master_key(&self) -> Option<&Key> {
        match &self.kind {
            Kind::Local(local) => Some(local.master_key()),
            Kind::Kms(_) | Kind::Transit(_) => None,
        }
    }

    fn answer<T>(&self, key: KeyId, answer: Result<T, Problem>) -> Result<T, SealError> {
        answer.map_err(|problem| match problem {
            Problem::Away(reason) => self.away(reason),
            Problem::Wrong(reason) => SealError::Refused {
                seal: self.name.clone(),
                key,
                reason,
            },
        })
    }

    fn away(&self, reason: String) -> SealError {
        SealError::Away {
            seal: self.name.clone(),
            reason,
        }
    }

    fn foreign(&self, place: &Place<'_>, wrapped: &WrappedKey) -> SealError {
        let configured = match &self.kind {
            Kind::Local(local) => format!("{} (master key {})", self.name, local.key_id()),
            Kind::Kms(_) | Kind::Transit(_) => self.name.clone(),
        };
        SealError::Foreign {
            key: place.key,
            needed: wrapped.wrapped_by(),
            configured,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{config::TransitSection, vault};

    const STORE: &str = "store_1";

    fn place(store: &str, key: u8) -> Place<'_> {
        Place {
            store,
            key: KeyId::from_bytes([key; 8]),
        }
    }

    /// A seal whose master key is in a file of this name.
    async fn in_file(folder: &tempfile::TempDir, name: &str, master: u8) -> Seal {
        let path = folder.path().join(name);
        fs::write(&path, vault::key::encode(&Key::new([master; 32])).as_bytes()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, mode).unwrap();
        configured(&format!("file:{}", path.display())).await.unwrap()
    }

    async fn configured(source: &str) -> anyhow::Result<Seal> {
        let section = KeySection {
            source: source.parse().unwrap(),
            previous: Vec::new(),
            command_environment: Vec::new(),
            transit: Some(TransitSection {
                token_file: "/nowhere/token".into(),
                ca_file: None,
                namespace: None,
            }),
            keep_days: 90,
        };
        Seal::configured(&section.source, &section).await
    }

    #[tokio::test]
    async fn a_local_seal_names_itself_its_master_key_and_what_it_wrapped() {
        let folder = tempfile::tempdir().unwrap();
        let seal = in_file(&folder, "master.key", 1).await;
        let id = KeyId::of(&Key::new([1; 32])).to_string();
        assert_eq!(
            seal.name(),
            format!("file:{}/master.key", folder.path().display())
        );
        assert_eq!(seal.key_in_use().await.ok(), Some(id.clone()));
        assert_eq!(seal.master_key().unwrap().expose(), &[1; 32]);

        let wrapped = seal
            .wrap(&place(STORE, 7), &Key::new([9; 32]))
            .await
            .ok()
            .unwrap();
        assert_eq!((wrapped.seal.as_str(), &wrapped.seal_key), (seal.name(), &id));
        let opened = seal.unwrap(&place(STORE, 7), &wrapped).await.ok().unwrap();
        assert_eq!(opened.expose(), &[9; 32]);
    }

    #[tokio::test]
    async fn a_master_key_is_known_wherever_it_is_read_from() {
        let folder = tempfile::tempdir().unwrap();
        let before = in_file(&folder, "before", 1).await;
        let wrapped = before
            .wrap(&place(STORE, 7), &Key::new([9; 32]))
            .await
            .ok()
            .unwrap();
        let command = format!("command:/bin/cat {}/before", folder.path().display());
        let after = configured(&command).await.unwrap();
        assert_eq!(after.name(), "command:/bin/cat");
        assert!(after.fits(&wrapped));
        assert!(after.unwrap(&place(STORE, 7), &wrapped).await.is_ok());
    }

    #[tokio::test]
    async fn what_another_seal_wrapped_is_foreign_and_says_what_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (
            in_file(&folder, "ours", 1).await,
            in_file(&folder, "other", 2).await,
        );
        let mut wrapped = other
            .wrap(&place(STORE, 7), &Key::new([9; 32]))
            .await
            .ok()
            .unwrap();
        assert!(!ours.fits(&wrapped));
        let error = ours.unwrap(&place(STORE, 7), &wrapped).await.err().unwrap();
        let (ours_id, other_id) = (KeyId::of(&Key::new([1; 32])), KeyId::of(&Key::new([2; 32])));
        assert_eq!(
            error.to_string(),
            format!(
                "the key 0707070707070707 was wrapped by {} (master key {other_id}), and the seal that is configured is {} \
                 (master key {ours_id}): name the one that wrapped it in key.source or key.previous",
                other.name(),
                ours.name()
            )
        );
        // A name of another kind of seal that happens to look like a master key's.
        wrapped.seal = "kms:unix:///run/kms.sock".to_owned();
        wrapped.seal_key = ours_id.to_string();
        assert!(!ours.fits(&wrapped));
    }

    #[tokio::test]
    async fn another_party_is_not_asked_until_it_is_needed_and_its_fault_names_the_seal() {
        let folder = tempfile::tempdir().unwrap();
        let ours = in_file(&folder, "master.key", 1).await;
        let wrapped = ours
            .wrap(&place(STORE, 7), &Key::new([9; 32]))
            .await
            .ok()
            .unwrap();
        for (source, fault, moved) in [
            (
                "kms:unix:///nowhere/kms.sock",
                "there is no such socket: ",
                "kms:unix:///run/before.sock",
            ),
            (
                "transit:https://vault.example/v1/transit/keys/tb",
                "key.transit_token_file /nowhere/token: there is no such file",
                "transit:https://before.example/v1/transit/keys/tb",
            ),
        ] {
            let seal = configured(source).await.unwrap();
            assert_eq!(seal.name(), source);
            assert!(seal.master_key().is_none());
            let error = seal.key_in_use().await.err().unwrap();
            assert!(matches!(error, SealError::Away { .. }), "{error}");
            let says = format!("the seal {source} cannot be used at the moment: {fault}");
            assert!(error.to_string().starts_with(&says), "{error}");

            let error = seal.unwrap(&place(STORE, 7), &wrapped).await.err().unwrap();
            assert!(matches!(error, SealError::Foreign { .. }), "{error}");
            let of_before = WrappedKey {
                seal: moved.to_owned(),
                ..wrapped.clone()
            };
            assert!(seal.fits(&of_before));
        }
    }

    #[tokio::test]
    async fn what_was_altered_or_moved_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let seal = in_file(&folder, "master.key", 1).await;
        let here = place(STORE, 7);
        let wrapped = seal.wrap(&here, &Key::new([9; 32])).await.ok().unwrap();
        let mut altered = Vec::new();
        for position in 0..wrapped.bytes.len() {
            let mut bytes = wrapped.bytes.clone();
            bytes[position] ^= 1;
            altered.push(bytes);
        }
        altered.extend([
            Vec::new(),
            wrapped.bytes[..30].to_vec(),
            [&wrapped.bytes[..], &[0]].concat(),
        ]);
        for bytes in altered {
            let altered = WrappedKey {
                bytes,
                ..wrapped.clone()
            };
            let refused = seal.unwrap(&here, &altered).await.err();
            assert!(matches!(refused, Some(SealError::Refused { .. })), "{refused:?}");
        }
        for elsewhere in [place("store_2", 7), place(STORE, 8), place("", 7)] {
            let refused = seal.unwrap(&elsewhere, &wrapped).await.err();
            assert!(
                matches!(refused, Some(SealError::Refused { .. })),
                "{elsewhere:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_source_that_cannot_be_read_or_holds_no_key_is_named() {
        let error = configured("env:TOKEN_BROKER_NO_SUCH_KEY").await.err().unwrap();
        assert_eq!(
            format!("{error:#}"),
            "the key env:TOKEN_BROKER_NO_SUCH_KEY: the variable is not set"
        );
        let error = configured("command:echo c2hvcnQ=").await.err().unwrap();
        assert!(
            format!("{error:#}").starts_with("the key command:echo: the master key has 5 bytes"),
            "{error:#}"
        );
    }
}
