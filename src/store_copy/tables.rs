//! Which rows are copied, and where to.

/// What a column holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Integer,
    Text,
    Bytes,
}

/// A kind of row, as the file has it and as the server does.
pub(super) struct Table {
    /// The file's table.
    pub(super) name: &'static str,
    /// What its rows are, for people; `None` for those that belong to others.
    pub(super) what: Option<&'static str>,
    /// All of them.
    pub(super) select: &'static str,
    /// What that finds.
    pub(super) columns: &'static [(&'static str, Kind)],
    /// Adds one, of these columns in their order.
    pub(super) insert: &'static str,
}

/// Every kind that lasts. Access tokens live for an hour, and are asked for again.
pub(super) const TABLES: [Table; 14] = [
    Table {
        name: "integrations",
        what: Some("accounts"),
        select: "SELECT number, id, kind, owner, subject, account, former, authority, scopes, declined, \
                 connected_at, generation, mac FROM integrations ORDER BY number",
        columns: &[
            ("number", Kind::Integer),
            ("id", Kind::Text),
            ("kind", Kind::Text),
            ("owner", Kind::Text),
            ("subject", Kind::Text),
            ("account", Kind::Text),
            ("former", Kind::Text),
            ("authority", Kind::Text),
            ("scopes", Kind::Text),
            ("declined", Kind::Text),
            ("connected_at", Kind::Integer),
            ("generation", Kind::Integer),
            ("mac", Kind::Bytes),
        ],
        insert: "INSERT INTO integrations (number, id, kind, owner, subject, account, former, authority, scopes, \
                 declined, connected_at, epoch, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
                 ?13)",
    },
    Table {
        name: "secrets",
        what: None,
        select: "SELECT integration, secrets.generation AS generation, version, health, health_reason, \
                 obtained_at, expires_at, secret, proof_key, secrets.mac AS mac, started_at, attempts FROM \
                 secrets LEFT JOIN renewals ON renewals.place = secrets.place WHERE requested IS NULL ORDER BY \
                 secrets.place",
        columns: &[
            ("integration", Kind::Integer),
            ("generation", Kind::Integer),
            ("version", Kind::Integer),
            ("health", Kind::Text),
            ("health_reason", Kind::Text),
            ("obtained_at", Kind::Integer),
            ("expires_at", Kind::Integer),
            ("secret", Kind::Bytes),
            ("proof_key", Kind::Bytes),
            ("mac", Kind::Bytes),
            ("started_at", Kind::Integer),
            ("attempts", Kind::Integer),
        ],
        insert: "INSERT INTO grants (integration, epoch, generation, health, health_reason, obtained_at, \
                 expires_at, secret, proof_key, mac, started_at, attempts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, \
                 ?8, ?9, ?10, ?11, ?12)",
    },
    Table {
        name: "revocations",
        what: Some("grants that are still to be revoked"),
        select: "SELECT id, owner, subject, account, authority, since, secret, mac FROM revocations",
        columns: &[
            ("id", Kind::Text),
            ("owner", Kind::Text),
            ("subject", Kind::Text),
            ("account", Kind::Text),
            ("authority", Kind::Text),
            ("since", Kind::Integer),
            ("secret", Kind::Bytes),
            ("mac", Kind::Bytes),
        ],
        insert: "INSERT INTO revocations (id, owner, subject, account, authority, since, secret, mac) VALUES (?1, \
                 ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    },
    Table {
        name: "agents",
        what: Some("agents of the API"),
        select: "SELECT name, manifest, mac FROM agents",
        columns: &[
            ("name", Kind::Text),
            ("manifest", Kind::Text),
            ("mac", Kind::Bytes),
        ],
        insert: "INSERT INTO agents (name, manifest, mac) VALUES (?1, ?2, ?3)",
    },
    Table {
        name: "holders",
        what: None,
        select: "SELECT agent, holder, secret, mac FROM holders",
        columns: &[
            ("agent", Kind::Text),
            ("holder", Kind::Text),
            ("secret", Kind::Bytes),
            ("mac", Kind::Bytes),
        ],
        insert: "INSERT INTO holders (agent, holder, secret, mac) VALUES (?1, ?2, ?3, ?4)",
    },
    Table {
        name: "security_events",
        what: None,
        select: "SELECT id, received_at, account FROM security_events ORDER BY number",
        columns: &[
            ("id", Kind::Text),
            ("received_at", Kind::Integer),
            ("account", Kind::Text),
        ],
        insert: "INSERT INTO security_events (id, received_at, account) VALUES (?1, ?2, ?3)",
    },
    Table {
        name: "keyring_store",
        what: None,
        select: "SELECT \"only\", id FROM keyring_store",
        columns: &[("only", Kind::Integer), ("id", Kind::Text)],
        insert: "INSERT INTO keyring_store (\"only\", id) VALUES (?1, ?2)",
    },
    Table {
        name: "keyring_keys",
        what: Some("keys"),
        select: "SELECT key_id, state, created_at, changed_at, seal, seal_key, wrapped, mac, active_mac FROM \
                 keyring_keys",
        columns: &[
            ("key_id", Kind::Text),
            ("state", Kind::Text),
            ("created_at", Kind::Integer),
            ("changed_at", Kind::Integer),
            ("seal", Kind::Text),
            ("seal_key", Kind::Text),
            ("wrapped", Kind::Bytes),
            ("mac", Kind::Bytes),
            ("active_mac", Kind::Bytes),
        ],
        insert: "INSERT INTO keyring_keys (key_id, state, created_at, changed_at, seal, seal_key, wrapped, mac, \
                 active_mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    },
    Table {
        name: "audit",
        what: Some("lines of the audit trail"),
        select: "SELECT sequence, time, actor, action, integration, capabilities, decision, detail, hash, owner, \
                 agent, mac FROM audit ORDER BY sequence",
        columns: &[
            ("sequence", Kind::Integer),
            ("time", Kind::Integer),
            ("actor", Kind::Text),
            ("action", Kind::Text),
            ("integration", Kind::Text),
            ("capabilities", Kind::Text),
            ("decision", Kind::Text),
            ("detail", Kind::Text),
            ("hash", Kind::Text),
            ("owner", Kind::Text),
            ("agent", Kind::Text),
            ("mac", Kind::Bytes),
        ],
        insert: "INSERT INTO audit (sequence, time, actor, action, integration, capabilities, decision, detail, \
                 hash, owner, agent, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    },
    Table {
        name: "audit_ends",
        what: None,
        select: "SELECT \"only\", start_sequence, start_hash, end_sequence, end_hash, altered, mac FROM \
                 audit_ends",
        columns: &[
            ("only", Kind::Integer),
            ("start_sequence", Kind::Integer),
            ("start_hash", Kind::Text),
            ("end_sequence", Kind::Integer),
            ("end_hash", Kind::Text),
            ("altered", Kind::Integer),
            ("mac", Kind::Bytes),
        ],
        insert: "INSERT INTO audit_ends (\"only\", start_sequence, start_hash, end_sequence, end_hash, altered, \
                 mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    },
    Table {
        name: "audit_clock",
        what: None,
        select: "SELECT \"only\", time, boot, uptime, mac FROM audit_clock",
        columns: &[
            ("only", Kind::Integer),
            ("time", Kind::Integer),
            ("boot", Kind::Bytes),
            ("uptime", Kind::Integer),
            ("mac", Kind::Bytes),
        ],
        insert: "INSERT INTO audit_clock (\"only\", time, boot, uptime, mac) VALUES (?1, ?2, ?3, ?4, ?5)",
    },
    Table {
        name: "audit_days",
        what: None,
        select: "SELECT sequence, time, mac FROM audit_days",
        columns: &[
            ("sequence", Kind::Integer),
            ("time", Kind::Integer),
            ("mac", Kind::Bytes),
        ],
        insert: "INSERT INTO audit_days (sequence, time, mac) VALUES (?1, ?2, ?3)",
    },
    Table {
        name: "audit_weeks",
        what: None,
        select: "SELECT first, last, start_hash, end_hash, cleared, cleared_hash, mac FROM audit_weeks",
        columns: &[
            ("first", Kind::Integer),
            ("last", Kind::Integer),
            ("start_hash", Kind::Text),
            ("end_hash", Kind::Text),
            ("cleared", Kind::Integer),
            ("cleared_hash", Kind::Text),
            ("mac", Kind::Bytes),
        ],
        insert: "INSERT INTO audit_weeks (first, last, start_hash, end_hash, cleared, cleared_hash, mac) VALUES \
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    },
    Table {
        name: "audit_counts",
        what: None,
        select: "SELECT sequence, time, actor, action, integration, capabilities, decision, owner, agent, count, \
                 first_time, mac FROM audit_counts",
        columns: &[
            ("sequence", Kind::Integer),
            ("time", Kind::Integer),
            ("actor", Kind::Text),
            ("action", Kind::Text),
            ("integration", Kind::Text),
            ("capabilities", Kind::Text),
            ("decision", Kind::Text),
            ("owner", Kind::Text),
            ("agent", Kind::Text),
            ("count", Kind::Integer),
            ("first_time", Kind::Integer),
            ("mac", Kind::Bytes),
        ],
        insert: "INSERT INTO audit_counts (sequence, time, actor, action, integration, capabilities, decision, \
                 owner, agent, count, first_time, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    },
];
