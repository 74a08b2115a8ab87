//! The numbers of all budgets, in one place.

use std::time::Duration;

use super::{Limits, Rate};

/// How often an agent may ask for another token in place of a refused one.
pub const AGENT_REFRESHES: Rate = Rate {
    at_once: 3,
    every: Duration::from_secs(30),
};

/// How often an account's agents may have the provider asked in the pause after a failure.
pub const TRIES_ON_DEMAND: Rate = Rate {
    at_once: 1,
    every: Duration::from_secs(30),
};

/// How long a client may take nothing of what waits to be sent to it, on any socket or port, before its connection ends.
pub const WRITE_STALL: Duration = Duration::from_secs(30);

/// Connections to each TCP port that speaks HTTP on which no request has come yet, or a probe that found no other place,
/// for each peer address.
pub const TCP_UNASKED: Limits = Limits {
    each: 128,
    all: 512,
    reserve: 0,
};

/// Connections to each TCP port that speaks HTTP (`http_listen`, `adc.listen`, `metadata.listen`) on which something was
/// asked, for each peer address.
pub const TCP_CONNECTIONS: Limits = Limits {
    each: 384,
    all: 768,
    reserve: 0,
};

/// Connections to `http_listen` from `console.proxy_addresses` on which no request has come yet, for each proxy.
pub const PROXY_UNASKED: Limits = Limits {
    each: 1024,
    all: 1024,
    reserve: 0,
};

/// Connections to `http_listen` from `console.proxy_addresses` on which something was asked, for each proxy.
pub const PROXY_CONNECTIONS: Limits = Limits {
    each: 1024,
    all: 1024,
    reserve: 0,
};

/// Connections to each socket that is not an agent's (`admin.sock`, `csi.sock`, a sidecar's `broker.sock`), for each uid.
pub const LOCAL_CONNECTIONS: Limits = Limits {
    each: 256,
    all: 512,
    reserve: 0,
};

/// Connections to `remote.listen` on which nothing was let in yet, for each peer address.
pub const REMOTE_UNPROVEN: Limits = Limits {
    each: 64,
    all: 256,
    reserve: 0,
};

/// Requests to `remote.listen` that wait for a verdict on a token that was never let in, for each peer address.
pub const REMOTE_QUESTIONS: Limits = Limits {
    each: 32,
    all: 64,
    reserve: 0,
};

/// The bytes of those requests' heads.
pub const REMOTE_QUESTION_BYTES: Limits = Limits {
    each: 64 * 1024,
    all: 256 * 1024,
    reserve: 0,
};

/// Questions about tokens that are new on a pod's own connection (a projected token rotates), for each pod.
pub const REMOTE_NEW_TOKENS: Limits = Limits {
    each: 2,
    all: 128,
    reserve: 0,
};

/// Strangers' requests that wait for a verdict on one connection.
pub const REMOTE_QUESTIONS_PER_CONNECTION: usize = 4;

/// Requests that may be refused on a connection before anything was let in on it: it ends with the last of them.
pub const REMOTE_REFUSALS_PER_CONNECTION: usize = 16;

/// Connections to `remote.listen` on which something was let in, for each pod …
pub const REMOTE_PODS: Limits = Limits {
    each: 16,
    all: 2048,
    reserve: 0,
};

/// … and for each service account.
pub const REMOTE_SERVICE_ACCOUNTS: Limits = Limits {
    each: 2048,
    all: 2048,
    reserve: 0,
};

/// Connections of nodes to `remote.listen`, for each node (one that starts again may leave one behind) …
pub const NODES: Limits = Limits {
    each: 4,
    all: 2048,
    reserve: 0,
};

/// … and the streams on which they are told what their agents may see.
pub const NODE_STREAMS: Limits = Limits {
    each: 4,
    all: 2048,
    reserve: 0,
};

/// Nodes that are told all that their agents may see at the same time.
pub const NODE_SNAPSHOTS: usize = 16;

/// Connections to `admin.listen` whose handshake is not done, or whose certificate names nobody, for each peer address …
pub const ADMIN_UNPROVEN: Limits = Limits {
    each: 32,
    all: 64,
    reserve: 0,
};

/// … and those of clients that `[[admin.clients]]` names, for each of them.
pub const ADMIN_CLIENTS: Limits = Limits {
    each: 64,
    all: 256,
    reserve: 0,
};

/// Sessions of the console, for each person. The reserve is the operators'.
pub const CONSOLE_SESSIONS: Limits = Limits {
    each: 64,
    all: 10_000,
    reserve: 256,
};

/// Requests to the console under way, for each person over all their sessions. The reserve is the operators'.
pub const CONSOLE_REQUESTS: Limits = Limits {
    each: 32,
    all: 1024,
    reserve: 64,
};

/// Pages of the console that listen to events, for each person over all their sessions. The reserve is the operators' …
pub const CONSOLE_STREAMS: Limits = Limits {
    each: 32,
    all: 512,
    reserve: 64,
};

/// … and for each session.
pub const CONSOLE_STREAMS_PER_SESSION: Limits = Limits {
    each: 16,
    all: 512,
    reserve: 0,
};

/// How often the figures of `/metrics` are made; who asks in between gets those of the last time.
pub const METRICS: Rate = Rate {
    at_once: 60,
    every: Duration::from_millis(250),
};

/// One-time links to the console that nobody has used yet, for each owner that they sign in. The reserve is the operator's.
pub const CONSOLE_LINKS: Limits = Limits {
    each: 256,
    all: 10_000,
    reserve: 64,
};

/// Consents under way, for each owner.
pub const CONSENTS: Limits = Limits {
    each: 64,
    all: 10_000,
    reserve: 0,
};

/// Consents that can be watched, and shown again when they have ended, for each owner.
pub const ENDINGS: Limits = Limits {
    each: 512,
    all: 20_000,
    reserve: 0,
};

/// Security events that are remembered, so that a repetition is known, for each account that they concern; the oldest make
/// room. Google repeats an event for hours at most.
pub const SECURITY_EVENTS: Limits = Limits {
    each: 256,
    all: 10_000,
    reserve: 0,
};

/// Tokens that are narrower than what their agent declares, for each agent that asked for one first.
pub const NARROWED_TOKENS: Limits = Limits {
    each: 64,
    all: 8192,
    reserve: 0,
};

/// How often an account may be checked with the provider, by its owner, and by the operator beside that.
pub const ACCOUNT_CHECKS: Rate = Rate {
    at_once: 5,
    every: Duration::from_secs(10),
};

/// How often an owner may have the provider asked for something: consents, checks, keys of service accounts.
pub const OWNER_REQUESTS: Rate = Rate {
    at_once: 64,
    every: Duration::from_secs(5),
};

/// How fast the accounts of a restored database are checked with the provider.
pub const RESTORED_ACCOUNTS: Rate = Rate {
    at_once: 1,
    every: Duration::from_millis(20),
};

/// What is held open on an agent's socket, and by a pod at `remote.listen`, over all connections: watches and other streams,
/// for each agent and each pod.
pub const STREAMS: Limits = Limits {
    each: 64,
    all: 32_768,
    reserve: 0,
};

/// Requests over HTTP/2 whose answers were not read to the end yet, for each agent and each pod. (Over HTTP/1.1, connections
/// are counted.)
pub const REQUESTS: Limits = Limits {
    each: 256,
    all: 32_768,
    reserve: 0,
};

/// Requests that wait for a token of the provider's, on whatever surface, for each agent and each pod.
pub const WAITS: Limits = Limits {
    each: 128,
    all: 32_768,
    reserve: 0,
};

/// Streams at once on one HTTP/2 connection to an agent's socket, or to a sidecar's: as many as an agent has in all, because
/// what a client opens before it has heard of a limit is refused (RFC 9113, section 6.5.2).
pub const STREAMS_PER_CONNECTION: u32 = 64;

/// Streams through a sidecar, for each uid: fewer than there are on its one connection to the broker, so that requests for
/// tokens find one.
pub const SIDECAR_STREAMS: Limits = Limits {
    each: 12,
    all: 24,
    reserve: 0,
};

/// Streams through a node, for each uid: fewer than there are on its one connection to the broker.
pub const FORWARDED_STREAMS: Limits = Limits {
    each: 12,
    all: 96,
    reserve: 0,
};

/// Streams of events on the admin socket and at `admin.listen`, for each uid and each client.
pub const EVENT_STREAMS: Limits = Limits {
    each: 64,
    all: 128,
    reserve: 0,
};

/// Connections to agents' sockets, for each agent. Further ones wait until one is closed.
pub const AGENT_CONNECTIONS: Limits = Limits {
    each: 256,
    all: 16_384,
    reserve: 0,
};

/// Descriptors that are kept for the daemon's own work: store, folders, provider, Kubernetes API, log.
pub const OWN_DESCRIPTORS: u64 = 256;

/// With fewer descriptors the daemon does not start …
pub const LEAST_DESCRIPTORS: u64 = 512;

/// … and with fewer than these it warns.
pub const ENOUGH_DESCRIPTORS: u64 = 4096;

/// What a command opens at once, with room to spare.
pub const COMMANDS_DESCRIPTORS: u64 = 24;

/// The parts of the descriptors beside the daemon's own, in 64ths: agents' listening sockets and the connections to them …
pub const AGENTS_PART: u64 = 38;
/// … pods' connections to `remote.listen` …
pub const REMOTE_PART: u64 = 4;
/// … nodes' …
pub const NODES_PART: u64 = 2;
/// … strangers' …
pub const REMOTE_UNPROVEN_PART: u64 = 2;
/// … clients' connections to `admin.listen` …
pub const ADMIN_PART: u64 = 1;
/// … strangers' …
pub const ADMIN_UNPROVEN_PART: u64 = 1;
/// … to each TCP port that speaks HTTP, of which there are three …
pub const TCP_PART: u64 = 4;
/// … and to each socket that is not an agent's, of which there are two.
pub const LOCAL_PART: u64 = 2;
