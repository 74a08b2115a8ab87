//! The rows of this database that need a key.

use crate::{
    audit_trail,
    sql::keyed::{Before, Table},
    tables::keyed,
};

/// Every kind of row that needs a key, also those of the audit trail. A step of a walk names them by their order.
pub(super) const TABLES: [&[Table]; 3] = [&RECORDS, &keyed::TABLES, &audit_trail::keyed::TABLES];

const RECORDS: [Table; 3] = [
    Table {
        what: "account",
        select: "SELECT number AS row_key, id, kind, owner, subject, account, former, authority, scopes, declined, connected_at, \
                 epoch AS generation, mac FROM integrations WHERE number > ?1 ORDER BY number LIMIT ?2",
        before: Before::Numbers,
        label: "id",
        look: keyed::account,
        update: "UPDATE integrations SET mac = ?2 WHERE number = ?1",
        uses: "SELECT number AS row_key, substr(mac, 2, 8) AS key FROM integrations",
    },
    Table {
        what: "grant of",
        select: "SELECT integration AS row_key, id, kind, grants.epoch AS grant_generation, generation AS version, health, \
                 health_reason, obtained_at, expires_at, secret, proof_key, grants.mac AS mac \
                 FROM grants JOIN integrations ON integration = number WHERE integration > ?1 ORDER BY integration LIMIT ?2",
        before: Before::Numbers,
        label: "id",
        look: keyed::grant,
        update: "UPDATE grants SET mac = ?2, secret = ?3, proof_key = ?4 WHERE integration = ?1",
        uses: "SELECT integration AS row_key, substr(mac, 2, 8) AS key FROM grants \
               UNION SELECT integration, substr(secret, 2, 8) FROM grants \
               UNION SELECT integration, substr(proof_key, 2, 8) FROM grants WHERE proof_key IS NOT NULL",
    },
    Table {
        what: "access token of",
        select: "SELECT access_tokens.number AS row_key, id, epoch AS generation, requested, granted, obtained_at, boot, \
                 obtained_uptime, expires_at, secret, access_tokens.mac AS mac FROM access_tokens \
                 JOIN integrations ON integrations.number = integration WHERE access_tokens.number > ?1 \
                 ORDER BY access_tokens.number LIMIT ?2",
        before: Before::Numbers,
        label: "id",
        look: keyed::token,
        update: "UPDATE access_tokens SET mac = ?2, secret = ?3 WHERE number = ?1",
        uses: "SELECT number AS row_key, substr(mac, 2, 8) AS key FROM access_tokens \
               UNION SELECT number, substr(secret, 2, 8) FROM access_tokens",
    },
];
