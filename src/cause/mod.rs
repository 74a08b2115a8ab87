//! What went wrong, as data that is compared and kept. Sentences about it are made where people read them
//! (`provider::sentences`, `policy::grant_sentences`).

mod grant;
mod key_file;
mod provider;

pub use grant::{GrantCause, GrantRefusal};
pub use key_file::{InvalidKeyFile, JsonPlace, NotKeyFile};
pub use provider::{
    Call, DiscoveryFault, IdTokenFault, IdTokenForm, ProviderCause, Refusal, TokenAnswerFault, UnusableAnswer,
};
