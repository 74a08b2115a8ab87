//! The numbers of all budgets, in one place.

use std::time::Duration;

use super::{Limits, Rate};

/// How often an agent may ask for another token in place of a refused one.
pub const AGENT_REFRESHES: Rate = Rate {
    at_once: 3,
    every: Duration::from_secs(30),
};

/// Connections to each TCP port that speaks HTTP (`http_listen`, `adc.listen`, `metadata.listen`), for each peer address.
pub const TCP_CONNECTIONS: Limits = Limits {
    each: 384,
    all: 768,
    reserve: 0,
};

/// Connections to each socket that is not an agent's (`admin.sock`, `csi.sock`, a sidecar's `broker.sock`), for each uid.
pub const LOCAL_CONNECTIONS: Limits = Limits {
    each: 256,
    all: 512,
    reserve: 0,
};

/// Connections to `remote.listen`, for each peer address.
pub const REMOTE_CONNECTIONS: Limits = Limits {
    each: 1024,
    all: 2048,
    reserve: 0,
};
