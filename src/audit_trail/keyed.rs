//! What of the audit trail is bound to a key, and how it comes to be bound to another one.

use crate::{
    audit_trail::{
        clock::{Day, Told},
        ends::Ends,
        row::read,
        week::{Count, Counted, Kept, Week},
    },
    sql::{
        Columns,
        bound::Bound,
        column,
        keyed::{Anew, Before, Look, Table},
    },
    vault::Vault,
};

/// Every kind of row.
pub(crate) const TABLES: [Table; 6] = [
    Table {
        what: "ends of the audit",
        select: "SELECT \"only\" AS row_key, 'trail' AS label, audit_ends.* FROM audit_ends WHERE \"only\" > ?1 ORDER BY \"only\" LIMIT ?2",
        before: Before::Numbers,
        label: "label",
        look: |row, vault| rebound(row, vault, &Ends::of(row)?),
        update: "UPDATE audit_ends SET mac = ?2 WHERE \"only\" = ?1",
        uses: "SELECT \"only\" AS row_key, substr(mac, 2, 8) AS key FROM audit_ends WHERE mac IS NOT NULL",
    },
    Table {
        what: "time of the audit",
        select: "SELECT \"only\" AS row_key, 'trail' AS label, audit_clock.* FROM audit_clock WHERE \"only\" > ?1 ORDER BY \"only\" LIMIT ?2",
        before: Before::Numbers,
        label: "label",
        look: |row, vault| rebound(row, vault, &Told::of(row)?),
        update: "UPDATE audit_clock SET mac = ?2 WHERE \"only\" = ?1",
        uses: "SELECT \"only\" AS row_key, substr(mac, 2, 8) AS key FROM audit_clock",
    },
    Table {
        what: "day of the audit trail at line",
        select: "SELECT sequence AS row_key, CAST(sequence AS TEXT) AS label, * FROM audit_days WHERE sequence > ?1 \
                 ORDER BY sequence LIMIT ?2",
        before: Before::Numbers,
        label: "label",
        look: |row, vault| rebound(row, vault, &Day::of(row)?),
        update: "UPDATE audit_days SET mac = ?2 WHERE sequence = ?1",
        uses: "SELECT sequence AS row_key, substr(mac, 2, 8) AS key FROM audit_days",
    },
    Table {
        what: "week of the audit trail from line",
        select: "SELECT first AS row_key, CAST(first AS TEXT) AS label, * FROM audit_weeks WHERE first > ?1 \
                 ORDER BY first LIMIT ?2",
        before: Before::Numbers,
        label: "label",
        look: |row, vault| rebound(row, vault, &Week::of(row)?),
        update: "UPDATE audit_weeks SET mac = ?2 WHERE first = ?1",
        uses: "SELECT first AS row_key, substr(mac, 2, 8) AS key FROM audit_weeks",
    },
    Table {
        what: "count of the audit trail at line",
        select: "SELECT sequence AS row_key, CAST(sequence AS TEXT) AS label, (SELECT end_hash FROM audit_weeks \
                 WHERE first <= sequence AND last >= sequence) AS end_hash, * FROM audit_counts \
                 WHERE sequence > ?1 AND sequence > (SELECT start_sequence FROM audit_ends) \
                 ORDER BY sequence LIMIT ?2",
        before: Before::Numbers,
        label: "label",
        look: count,
        update: "UPDATE audit_counts SET mac = ?2 WHERE sequence = ?1",
        uses: "SELECT sequence AS row_key, substr(mac, 2, 8) AS key FROM audit_counts \
               WHERE sequence > (SELECT start_sequence FROM audit_ends)",
    },
    Table {
        what: "line of the audit trail",
        // Lines of weeks that are counted alone are bound, and those are the first. What lies before the trail's start is on
        // its way out.
        select: "SELECT sequence AS row_key, CAST(sequence AS TEXT) AS label, (SELECT end_hash FROM audit_weeks \
                 WHERE first <= sequence AND last >= sequence) AS end_hash, * FROM audit \
                 WHERE sequence > ?1 AND sequence > (SELECT start_sequence FROM audit_ends) AND sequence <= (SELECT max(cleared) FROM audit_weeks) AND mac IS NOT NULL \
                 ORDER BY sequence LIMIT ?2",
        before: Before::Numbers,
        label: "label",
        look: line,
        update: "UPDATE audit SET mac = ?2 WHERE sequence = ?1",
        uses: "SELECT sequence AS row_key, substr(mac, 2, 8) AS key FROM audit \
               WHERE sequence > (SELECT start_sequence FROM audit_ends) AND sequence <= (SELECT max(cleared) FROM audit_weeks) AND mac IS NOT NULL",
    },
];

fn rebound(row: &dyn Columns, vault: &Vault, bound: &impl Bound) -> Look {
    let mac = column::mac(row, "mac");
    bound.verify(vault, mac)?;
    Ok(Anew::of(vault, mac).values(|vault| bound.mac(vault), Vec::new()))
}

fn count(row: &dyn Columns, vault: &Vault) -> Look {
    let counted = Counted {
        count: &Count::of(row)?,
        end_hash: column::text(row, "end_hash")?,
    };
    rebound(row, vault, &counted)
}

fn line(row: &dyn Columns, vault: &Vault) -> Look {
    let kept = Kept {
        line: &read(row)?,
        end_hash: column::text(row, "end_hash")?,
    };
    rebound(row, vault, &kept)
}
