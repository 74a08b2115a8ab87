//! A line of the audit trail as its row says it.

use crate::{
    sql::{Columns, column},
    store::RecordFault,
    telemetry::audit::AuditLine,
};

pub(crate) fn line_label(row: &dyn Columns) -> String {
    column::number::<u64>(row, "sequence")
        .map_or_else(|fault| fault.to_string(), |number| format!("audit line {number}"))
}

pub(crate) fn read(row: &dyn Columns) -> Result<AuditLine, RecordFault> {
    let capabilities = column::text(row, "capabilities")?;
    Ok(AuditLine {
        sequence: column::number(row, "sequence")?,
        time: column::time(row, "time")?,
        actor: column::text(row, "actor")?.to_owned(),
        action: column::text(row, "action")?.to_owned(),
        integration: column::text(row, "integration")?.to_owned(),
        // Exactly what `join` wrote reads back; anything else must not hash alike.
        capabilities: match capabilities {
            "" => Vec::new(),
            listed => listed.split(' ').map(str::to_owned).collect(),
        },
        decision: column::text(row, "decision")?.to_owned(),
        detail: column::text(row, "detail")?.to_owned(),
        hash: column::text(row, "hash")?.to_owned(),
        counted: None,
    })
}
