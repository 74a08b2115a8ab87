//! The audit trail as it is shown: lines, and counts in the place of the last line that each replaces.

use crate::{
    audit_trail::{row, week::where_routine},
    clock,
    sql::{
        Columns, Fault, Sql,
        column::{self, corrupt},
    },
    store::RecordFault,
    telemetry::audit::{AuditLine, Counted},
};

/// A query for all of it, to be put in brackets behind `FROM`.
pub(crate) fn source(sql: &dyn Sql) -> Result<String, Fault> {
    let weeks = "SELECT last, cleared FROM audit_weeks ORDER BY first DESC LIMIT 1";
    let newest = sql.one(weeks, &[], |row| {
        let newest = || Ok((column::number(row, "last")?, column::number(row, "cleared")?));
        Ok(newest().map_err(|reason: RecordFault| corrupt("of a week of the audit trail", reason))?)
    })?;
    let (last, cleared): (i64, i64) = newest.unwrap_or_default();
    // Columns of one affinity, or both parts would be gone through and sorted.
    // What is counted and not gone yet is not shown twice.
    let hidden = if cleared < last {
        format!(
            " WHERE NOT (sequence > {cleared} AND sequence <= {last} AND {})",
            where_routine()
        )
    } else {
        String::new()
    };
    Ok(format!(
        "SELECT sequence, time, actor, action, integration, capabilities, decision, detail, hash, owner, agent, \
         CAST(NULL AS INTEGER) AS count, CAST(NULL AS INTEGER) AS first_time FROM audit{hidden} UNION ALL \
         SELECT sequence, time, actor, action, integration, capabilities, decision, CAST('' AS TEXT), CAST('' AS TEXT), owner, agent, \
         count, first_time FROM audit_counts WHERE sequence <= {last}"
    ))
}

/// A row of it.
pub(crate) fn read(row: &dyn Columns) -> Result<AuditLine, RecordFault> {
    let mut line = row::read(row)?;
    if let Some(count) = column::number_or_none(row, "count")? {
        let counted = Counted {
            lines: count.unsigned_abs(),
            first: column::time(row, "first_time")?,
        };
        line.detail = match counted.lines {
            1 => "counted: 1 time".to_owned(),
            lines => format!("counted: {lines} times since {}", clock::rfc3339(counted.first)),
        };
        line.counted = Some(counted);
    }
    Ok(line)
}
