#![doc = include_str!("../README.md")]

mod alter;
mod apis;
mod assertion;
mod auth_request;
mod authorize;
#[cfg(feature = "cli")]
mod cli;
mod consent;
mod control;
mod core;
mod dispatch;
mod dpop;
mod event;
mod fault;
mod grants;
mod handle;
mod identity;
mod ids;
mod keys;
mod loopback;
mod mail;
mod message;
mod mint;
mod oauth;
mod options;
mod proofs;
mod random;
mod revoke;
mod risc;
mod scope;
mod server;
mod service_account;
mod state;
mod stats;
mod time;
mod token;
mod workspace;

#[cfg(feature = "cli")]
pub use cli::{Arguments, ClientKind, RotationMode};
pub use event::{Pushed, SecurityEvent, TokenForm};
pub use fault::{Cut, Endpoint, Fault, FaultId, InvalidFault, OrderedFault};
pub use handle::{AccountView, ConsentView, Handle, SentMail};
pub use jiff::Timestamp;
pub use keys::KeyError;
pub use options::{
    Account, AutoApprove, Client, ClientType, DEFAULT_TOKEN_CAP, DEFAULT_TOKEN_LIFETIME, Options, Rotation,
};
pub use proofs::InvalidNonce;
pub use risc::{InvalidReceiver, NotAnnounced};
pub use server::{Emulator, Error};
pub use stats::Stats;
pub use time::{Clock, ManualClock};

pub use self::core::Unknown;
