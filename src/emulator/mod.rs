//! A Google-shaped OAuth server with faults on demand: for the demo, for this project's tests and for
//! users' own CI. It behaves as Google is known to behave and keeps everything in memory.
//!
//! # Google's side
//!
//! Google's own paths on one origin ([`Emulator::base_url`]):
//!
//! | path | what |
//! |---|---|
//! | `/o/oauth2/v2/auth` | consent page; a script posts `account`, `scope` (one for each ticked box) and `decision` (`allow` or `deny`) to the same address with the same query |
//! | `/token` | exchange, refresh, service-account assertions |
//! | `/revoke` | ends everything of the token's account in the whole project |
//! | `/oauth2/v3/certs`, `/v1/userinfo`, `/.well-known/openid-configuration` | identity; the issuer is Google's |
//! | `/.well-known/risc-configuration` | who signs security events, and with which keys |
//! | `/gmail/v1/…` | `messages/send`, `messages`, `messages/{id}`, `profile` |
//! | `/calendar/v3/…` | `users/me/calendarList`, `calendars/{id}/events` (list, insert) |
//! | `/drive/v3/files` | list |
//!
//! Google's Python client takes the origin as `client_options={"api_endpoint": base_url}` for Gmail, and
//! the origin with the service path for the others, as in its discovery documents:
//! `base_url + "/calendar/v3/"`, `base_url + "/drive/v3/"`.
//!
//! The consent page is always shown, also when everything was granted before, unless the request says
//! `prompt=none`.
//!
//! Where nothing is known of Google, the emulator takes the stricter reading: a narrower `scope` on
//! refresh is compared literally, also `email` against its long name. Differences on purpose: id tokens
//! come on refresh only with [`Options::id_token_on_refresh`], PKCE is required unless
//! [`Options::require_pkce`] is off, and a code is spent by its first exchange even when that fails.
//!
//! # The control address
//!
//! JSON over HTTP on a second listener ([`Emulator::control_url`]); [`Handle`] does the same in process.
//!
//! | request | effect |
//! |---|---|
//! | `POST /faults` | orders a [`Fault`]; answers `{"id"}` |
//! | `GET /faults`, `DELETE /faults`, `DELETE /faults/{id}` | shows them, takes them back |
//! | `GET /stats`, `GET /state`, `GET /mails` | counters, accounts with their consents, sent messages |
//! | `POST /revoke`, `POST /password-change` | `{"account"}`: by address or `sub` |
//! | `POST /rename` | `{"account", "email"}`: the account, by address or `sub`, gets this address |
//! | `POST /lifetime` | `{"seconds"}`: of access tokens issued from now on |
//! | `POST /rotation` | `{"mode"}`: `off`, `leeway` or `strict` |
//! | `POST /auto-approve` | `{"account"?, "untick"?: […]}` or `null` |
//! | `POST /signing-key` | signs id tokens with a new key; the last one stays published |
//! | `POST /risc-receiver` | `{"url"}` or `null`: where events go from now on; a revocation by a person is one |
//! | `POST /security-events` | signs a [`SecurityEvent`] and pushes it; answers `{"set", "status", "body"}` |
//! | `POST /grants` | `{"account", "scopes": […], "client_id"?}`; answers `{"refresh_token"}` |
//! | `POST /service-accounts` | `{"name", "delegated_scopes"?: […]}`; answers the key file |
//!
//! A fault is an object of these fields, all optional; the first fault that fits a request strikes it:
//!
//! | field | meaning |
//! |---|---|
//! | `endpoint` | `any`, `authorize`, `token`, `revoke`, `certs`, `userinfo`, `discovery`, `risc`, `api`, `gmail`, `calendar`, `drive` |
//! | `grant_type`, `account` | only such token requests, only this account's requests |
//! | `reused` | `true`: only requests on a connection that has carried one before, as with a load balancer that has forgotten it |
//! | `times` | how many requests it strikes; absent: all, until it is taken back |
//! | `status`, `error`, `error_description`, `error_subtype`, `body` | the answer, instead of the work |
//! | `headers` | added to the answer, such as `{"Retry-After": "7"}` |
//! | `delay_ms`, `hold` | waits before the work: that long, or until the fault is taken back |
//! | `drop` | `true` closes the connection unanswered; `"within"` breaks the answer off just before its end; `"after"` does the work first, which is what a client sees that crashes before it commits the answer |
//! | `fields`, `without` | does the work, and puts these fields into the answer's JSON, or leaves them out |
//! | `bom`, `gzip` | sends a byte order mark before the answer, compresses it |
//! | `skew_seconds` | how far the answer's `Date` runs ahead |
//!
//! For example, `{"endpoint": "token", "grant_type": "refresh_token", "account": "alice@example.com",
//! "times": 3, "status": 503, "headers": {"Retry-After": "7"}}`.

mod alter;
mod apis;
mod assertion;
mod auth_request;
mod authorize;
mod consent;
mod control;
mod core;
mod dispatch;
mod fault;
mod grants;
mod handle;
mod identity;
mod keys;
mod mail;
mod message;
mod mint;
mod options;
mod revoke;
mod risc;
mod scope;
mod server;
mod state;
mod stats;
mod token;
mod workspace;

pub use fault::{Cut, Endpoint, Fault, FaultId, InvalidFault, OrderedFault};
pub use handle::{AccountView, ConsentView, Handle, SentMail, Unknown};
pub use keys::KeyError;
pub use options::{
    Account, AutoApprove, Client, ClientType, DEFAULT_TOKEN_CAP, DEFAULT_TOKEN_LIFETIME, Options, Rotation,
};
pub use risc::{InvalidReceiver, NotAnnounced, Pushed, SecurityEvent, TokenForm};
pub use server::{Emulator, Error};
pub use stats::Stats;
