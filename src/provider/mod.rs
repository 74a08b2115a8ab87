//! Who gives tokens: what providers say of themselves, what is asked of them, and what their failures mean.
//!
//! A provider is a folder here and a line in `kinds`.

mod code;
mod context;
mod conversation;
mod error;
pub mod failure;
mod file;
pub mod google;
mod help_topics;
pub mod kinds;
pub mod oauth;
pub(crate) mod oidc;
mod profile;
mod registry;
mod seam;
pub mod sentences;

pub use crate::cause::InvalidKeyFile;
pub use context::ProviderContext;
pub use conversation::{
    AccountKey, AssertionRequest, Consent, ConsentRequest, Identity, NoToken, TokenAnswer,
};
pub use error::{ProviderError, ProviderFault};
pub use failure::Remedy;
pub use file::InvalidGrantFile;
pub use help_topics::HelpTopics;
pub use profile::{AccountField, EnvNames, Listed, Origin, Profile};
pub(crate) use registry::SOME_PROVIDER;
pub use registry::{Provider, Providers, TokenSource};
pub use seam::{AssertionProvider, ConsentProvider, GrantFuture, ProviderFuture};
pub use sentences::Retried;
