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
        select: "SELECT number AS row_key, * FROM integrations WHERE number > ?1 ORDER BY number LIMIT ?2",
        before: Before::Numbers,
        label: "id",
        look: keyed::account,
        update: "UPDATE integrations SET mac = ?2 WHERE number = ?1",
        uses: "SELECT number AS row_key, substr(mac, 2, 8) AS key FROM integrations",
    },
    Table {
        what: "grant of",
        select: "SELECT place AS row_key, id, kind, secrets.generation AS grant_generation, version, health, health_reason, \
                 obtained_at, expires_at, secret, proof_key, secrets.mac AS mac \
                 FROM secrets LEFT JOIN integrations ON place = number << 16 AND number = integration \
                 WHERE requested IS NULL AND place > ?1 ORDER BY place LIMIT ?2",
        before: Before::Numbers,
        label: "id",
        look: keyed::grant,
        update: "UPDATE secrets SET mac = ?2, secret = ?3, proof_key = ?4 WHERE place = ?1",
        uses: "SELECT place AS row_key, substr(mac, 2, 8) AS key FROM secrets WHERE requested IS NULL \
               UNION SELECT place, substr(secret, 2, 8) FROM secrets WHERE requested IS NULL \
               UNION SELECT place, substr(proof_key, 2, 8) FROM secrets \
               WHERE requested IS NULL AND proof_key IS NOT NULL",
    },
    Table {
        what: "access token of",
        select: "SELECT place AS row_key, id, integrations.generation AS generation, requested, granted, obtained_at, boot, \
                 obtained_uptime, expires_at, secret, secrets.mac AS mac \
                 FROM secrets LEFT JOIN integrations ON number = place >> 16 AND number = integration \
                 WHERE requested IS NOT NULL AND place > ?1 ORDER BY place LIMIT ?2",
        before: Before::Numbers,
        label: "id",
        look: keyed::token,
        update: "UPDATE secrets SET mac = ?2, secret = ?3 WHERE place = ?1",
        uses: "SELECT place AS row_key, substr(mac, 2, 8) AS key FROM secrets WHERE requested IS NOT NULL \
               UNION SELECT place, substr(secret, 2, 8) FROM secrets WHERE requested IS NOT NULL",
    },
];
