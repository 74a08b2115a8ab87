//! The identity and purpose that a sealed secret is bound to.

use std::{fmt, io::Write};

use crate::{
    capability::ScopeSet,
    id::{AgentName, IntegrationId},
};

use super::KeyId;

/// The one place where a sealed secret opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding<'a> {
    /// The refresh token of an account.
    RefreshToken(&'a IntegrationId),
    /// The key that an account's grant is bound to.
    ProofKey(&'a IntegrationId),
    /// The key of a service account.
    ServiceAccountKey(&'a IntegrationId),
    /// An access token of an account.
    AccessToken {
        /// The account it was obtained with.
        integration: &'a IntegrationId,
        /// What was asked for.
        requested: &'a ScopeSet,
    },
    /// What an agent proves itself with.
    AgentSecret {
        /// The agent.
        agent: &'a AgentName,
        /// Who held it when the secret was made; `None` where that was not remembered yet.
        holder: Option<&'a str>,
    },
    /// A key of the keyring that is kept for backups.
    KeptKey(KeyId),
    /// A fixed text by which a store recognises its key.
    KeyCheck,
}

/// Which of the two ciphertexts of an envelope is meant.
#[derive(Clone, Copy)]
pub(super) enum Layer {
    /// The data key, wrapped by this key.
    DataKey(KeyId),
    /// The secret itself.
    Payload,
}

impl Binding<'_> {
    /// The associated data in an envelope of this format: each field behind its length, so that no two bindings share an encoding.
    pub(super) fn associated_data(&self, version: u8, layer: Layer) -> Vec<u8> {
        // Room for the usual: growing step by step costs more than the encryption.
        let mut data = Vec::with_capacity(256);
        data.push(version);
        match layer {
            Layer::DataKey(key_id) => {
                field(&mut data, b"data key");
                field(&mut data, &key_id.to_bytes());
            }
            Layer::Payload => field(&mut data, b"payload"),
        }
        match self {
            Self::RefreshToken(integration) => {
                field(&mut data, b"refresh token");
                field(&mut data, integration.as_str().as_bytes());
            }
            Self::ProofKey(integration) => {
                field(&mut data, b"proof key");
                field(&mut data, integration.as_str().as_bytes());
            }
            Self::ServiceAccountKey(integration) => {
                field(&mut data, b"service account key");
                field(&mut data, integration.as_str().as_bytes());
            }
            Self::AccessToken {
                integration,
                requested,
            } => {
                field(&mut data, b"access token");
                field(&mut data, integration.as_str().as_bytes());
                shown(&mut data, requested);
            }
            Self::AgentSecret { agent, holder: None } => {
                field(&mut data, b"agent secret");
                field(&mut data, agent.as_str().as_bytes());
            }
            Self::AgentSecret {
                agent,
                holder: Some(holder),
            } => {
                field(&mut data, b"agent secret of a holder");
                field(&mut data, agent.as_str().as_bytes());
                field(&mut data, holder.as_bytes());
            }
            Self::KeptKey(id) => {
                field(&mut data, b"kept key");
                field(&mut data, &id.to_bytes());
            }
            Self::KeyCheck => field(&mut data, b"key check"),
        }
        data
    }
}

fn field(data: &mut Vec<u8>, value: &[u8]) {
    data.extend_from_slice(&(value.len() as u64).to_be_bytes());
    data.extend_from_slice(value);
}

/// Like [`field`] with what `value` shows.
fn shown(data: &mut Vec<u8>, value: &impl fmt::Display) {
    let start = data.len() + 8;
    data.extend_from_slice(&[0; 8]);
    write!(data, "{value}").expect("a vector takes everything");
    let length = (data.len() - start) as u64;
    data[start - 8..start].copy_from_slice(&length.to_be_bytes());
}

/// Names the secret in an error.
impl fmt::Display for Binding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RefreshToken(integration) => write!(f, "the refresh token of {integration}"),
            Self::ProofKey(integration) => write!(f, "the proof key of {integration}"),
            Self::ServiceAccountKey(integration) => write!(f, "the service account key of {integration}"),
            Self::AccessToken {
                integration,
                requested,
            } => {
                write!(f, "the access token of {integration} for `{requested}`")
            }
            Self::AgentSecret { agent, .. } => write!(f, "the secret of the agent {agent}"),
            Self::KeptKey(id) => write!(f, "key {id}, which is kept for backups,"),
            Self::KeyCheck => f.write_str("the key check of the database"),
        }
    }
}
