//! The seal that is a key of the Transit engine of HashiCorp Vault or OpenBao.
//!
//! What is encrypted is the key with a digest of it and its place ([`super::enclosure`]): servers before Vault 1.9 take associated
//! data and ignore it. A wrapped key is a format version and the ciphertext as the server writes it (`vault:v3:…`).

mod answer;
mod server;
#[cfg(test)]
mod tests;

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use subtle::ConstantTimeEq;
use url::Url;
use zeroize::Zeroizing;

use crate::{config::TransitSection, http_client::Limits, secret::Key};

use super::{
    enclosure,
    error::Problem,
    wrapped::{Place, WrappedKey},
};
use answer::{Decrypted, Encrypted, Latest};
use server::{Failure, Server};

const VERSION: u8 = 1;
/// What is encrypted to find out which version the server encrypts with, where it does not say so. No secret.
const PROBE: &[u8] = b"token-broker";

/// A key there.
pub(super) struct Transit {
    server: Server,
    /// What the key is called.
    name: String,
}

impl Transit {
    /// Asks nobody yet. `key` is the key's address.
    ///
    /// # Errors
    /// An address without a key, and a proxy that the environment names and that is none.
    pub(super) fn new(key: &Url, section: &TransitSection, limits: Limits) -> anyhow::Result<Self> {
        let (mount, name) = key
            .path()
            .rsplit_once("/keys/")
            .context("no key of a Transit engine")?;
        let mut engine = key.clone();
        engine.set_path(mount);
        Ok(Self {
            server: Server::new(engine, section, limits)?,
            name: name.to_owned(),
        })
    }

    /// The name and the version of the key that the server encrypts with.
    pub(super) async fn key_in_use(&self) -> Result<String, Problem> {
        let version = match self.server.get(&format!("keys/{}", self.name)).await {
            Ok(Latest { latest_version }) => latest_version,
            // The policy need not allow it.
            Err(failure) if failure.is_forbidden() => self.encrypt(PROBE).await?.version,
            Err(failure) => return Err(failure.into()),
        };
        Ok(self.key_id(version))
    }

    /// Encrypts, and sees that the server gives the same back.
    pub(super) async fn wrap(&self, seal: &str, place: &Place<'_>, key: &Key) -> Result<WrappedKey, Problem> {
        let enclosed = enclosure::enclose(place, key);
        let Encrypted { ciphertext, version } = self.encrypt(&enclosed).await?;
        if !bool::from(self.decrypt(&ciphertext).await?.ct_eq(&enclosed)) {
            return Err(Problem::Wrong(
                "the server does not decrypt what it encrypted".to_owned(),
            ));
        }
        let payload = ciphertext.rsplit(':').next().unwrap_or_default();
        let payload = BASE64_STANDARD.decode(payload).unwrap_or_default();
        if enclosure::shows(&payload, &enclosed) {
            return Err(Problem::Wrong(
                "the server does not encrypt: what it gave shows the key".to_owned(),
            ));
        }
        Ok(WrappedKey {
            seal: seal.to_owned(),
            seal_key: self.key_id(version),
            bytes: [&[VERSION], ciphertext.as_bytes()].concat(),
        })
    }

    /// Has the server decrypt what it encrypted.
    pub(super) async fn unwrap(&self, place: &Place<'_>, wrapped: &WrappedKey) -> Result<Key, Problem> {
        let Encrypted { ciphertext, .. } =
            read(wrapped).ok_or_else(|| Problem::Wrong("it was altered".to_owned()))?;
        let decrypted = self.decrypt(&ciphertext).await?;
        enclosure::disclose(place, &decrypted).map_err(|why| Problem::Wrong(why.to_owned()))
    }

    fn key_id(&self, version: u64) -> String {
        format!("{}:v{version}", self.name)
    }

    async fn encrypt(&self, plaintext: &[u8]) -> Result<Encrypted, Problem> {
        let plaintext = Zeroizing::new(BASE64_STANDARD.encode(plaintext));
        let path = format!("encrypt/{}", self.name);
        let answer = self.server.post(&path, ("plaintext", &plaintext)).await;
        Ok(answer?)
    }

    async fn decrypt(&self, ciphertext: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
        let path = format!("decrypt/{}", self.name);
        let answer = self.server.post(&path, ("ciphertext", ciphertext)).await;
        let Decrypted { plaintext } = answer.map_err(Failure::of_ciphertext)?;
        let decoded = BASE64_STANDARD.decode(plaintext.as_bytes());
        // An answer that is no base64 is none of what was encrypted.
        Ok(Zeroizing::new(decoded.unwrap_or_default()))
    }
}

/// The ciphertext in a wrapped key, which has to be one of the version that it names.
fn read(wrapped: &WrappedKey) -> Option<Encrypted> {
    let (&[VERSION], rest) = wrapped.bytes.split_first_chunk()? else {
        return None;
    };
    let encrypted = Encrypted::parse(std::str::from_utf8(rest).ok()?)?;
    let (_, version) = wrapped.seal_key.rsplit_once(":v")?;
    (version == encrypted.version.to_string()).then_some(encrypted)
}
