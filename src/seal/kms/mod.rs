//! The seal that is a plugin of the Kubernetes KMS v2 protocol, on a Unix socket.
//!
//! The protocol has no associated data: what is encrypted is the key with a digest of it and its place ([`super::enclosure`]). A
//! wrapped key is a format version and the plugin's answer to Encrypt, as protobuf: ciphertext, key id and annotations, all of
//! which Decrypt gets back.

mod plugin;
mod rules;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use prost::Message;
use subtle::ConstantTimeEq;

use crate::{proto::kms::EncryptResponse, secret::Key, text::scrub::scrub};

use super::{
    enclosure,
    error::Problem,
    wrapped::{Place, WrappedKey},
};
use plugin::{LIMIT, Plugin};

const VERSION: u8 = 1;
/// How often Encrypt may use another key than Status says: a plugin that has just changed its key agrees with itself soon.
const ATTEMPTS: usize = 4;

/// A plugin.
pub(super) struct Kms {
    socket: PathBuf,
    limit: Duration,
}

impl Kms {
    /// Asks nobody yet.
    pub(super) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            limit: LIMIT,
        }
    }

    /// The id of the key that the plugin encrypts with.
    pub(super) async fn key_in_use(&self) -> Result<String, Problem> {
        Ok(self.connect().await?.status().await?.key_id)
    }

    /// Encrypts with the key that Status tells, and sees that Decrypt gives the same back.
    pub(super) async fn wrap(&self, seal: &str, place: &Place<'_>, key: &Key) -> Result<WrappedKey, Problem> {
        let enclosed = enclosure::enclose(place, key);
        let mut plugin = self.connect().await?;
        let mut keys = (String::new(), String::new());
        for _ in 0..ATTEMPTS {
            let status = plugin.status().await?;
            let encrypted = plugin.encrypt(&enclosed).await?;
            if status.key_id != encrypted.key_id {
                keys = (status.key_id, encrypted.key_id);
                continue;
            }
            let decrypted = plugin.decrypt(&encrypted).await?;
            if !bool::from(decrypted.ct_eq(&enclosed)) {
                return Err(Problem::Wrong(
                    "the plugin does not decrypt what it encrypted".to_owned(),
                ));
            }
            let mut bytes = vec![VERSION];
            bytes.extend(encrypted.encode_to_vec());
            if enclosure::shows(&bytes, &enclosed) {
                return Err(Problem::Wrong(
                    "the plugin does not encrypt: what it gave shows the key".to_owned(),
                ));
            }
            return Ok(WrappedKey {
                seal: seal.to_owned(),
                seal_key: encrypted.key_id,
                bytes,
            });
        }
        Err(Problem::Away(format!(
            "the plugin says that its key is \"{}\" and encrypts with \"{}\": look at its log",
            scrub(&keys.0, &[]),
            scrub(&keys.1, &[])
        )))
    }

    /// Has the plugin decrypt what it encrypted.
    pub(super) async fn unwrap(&self, place: &Place<'_>, wrapped: &WrappedKey) -> Result<Key, Problem> {
        let encrypted = read(&wrapped.bytes)
            .filter(|encrypted| encrypted.key_id == wrapped.seal_key)
            .ok_or_else(|| Problem::Wrong("it was altered".to_owned()))?;
        let decrypted = self.connect().await?.decrypt(&encrypted).await?;
        enclosure::disclose(place, &decrypted).map_err(|why| Problem::Wrong(why.to_owned()))
    }

    async fn connect(&self) -> Result<Plugin, Problem> {
        Plugin::connect(&self.socket, self.limit).await
    }
}

/// The plugin's answer in a wrapped key, which has to be one that would have been taken.
fn read(bytes: &[u8]) -> Option<EncryptResponse> {
    let (&[VERSION], rest) = bytes.split_first_chunk()? else {
        return None;
    };
    let encrypted = EncryptResponse::decode(rest).ok()?;
    rules::check_encrypted(&encrypted).ok()?;
    Some(encrypted)
}
