//! What is done to the audit trail over time, and how much room it takes.

use crate::{
    audit_trail::{ends, size, upkeep::Keeper},
    postgres_store::database::PostgresStore,
    sql::{Fault, Sql, values},
    store::{StoreFuture, TrailLimit, TrailSize},
    vault::Vault,
};

/// How many lines tell what one takes.
const SAMPLE: u32 = 1000;
/// What a line takes beside its own bytes: its row's head, its place on the page, and its entries in two indexes.
const AROUND: u64 = 120;

impl Keeper for PostgresStore {
    fn read_step<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql, &Vault) -> Result<T, Fault> + Send + 'static,
    {
        self.read_bound(work)
    }

    fn write_step<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&dyn Sql, &Vault) -> Result<T, Fault> + Send + 'static,
    {
        self.write(work)
    }

    fn surplus(&self, most: u64) -> StoreFuture<'_, u64> {
        self.read(move |sql| size::surplus(sql, bytes(sql)?, most))
    }
}

/// The trail's size, beside what it may take.
pub(super) fn told(sql: &dyn Sql, limit: Option<TrailLimit>) -> Result<TrailSize, Fault> {
    Ok(TrailSize {
        bytes: bytes(sql)?,
        limit,
    })
}

/// About how much of the disk this broker's trail takes: what its newest lines take, for all of them. The pages themselves are those of
/// all brokers, and room in them that is free again is used again.
fn bytes(sql: &dyn Sql) -> Result<u64, Fault> {
    let counted = "SELECT coalesce(max(last), 0) FROM audit_weeks";
    let counted = sql.number(counted, &[])?.unwrap_or_default().unsigned_abs();
    let ends = ends::as_found(sql)?;
    let chain = ends.end.sequence.saturating_sub(counted.max(ends.start.sequence));
    let kept = sql.number(
        "SELECT (SELECT count(*) FROM audit WHERE sequence <= ?1) + (SELECT count(*) FROM audit_counts)",
        values![i64::try_from(counted).unwrap_or(i64::MAX)],
    )?;
    let each = sql.number(
        "SELECT coalesce(avg(length(actor) + length(action) + length(integration) + length(capabilities) + length(detail) \
         + length(hash) + length(owner) + length(agent)), 0)::BIGINT FROM \
         (SELECT * FROM audit ORDER BY sequence DESC LIMIT ?1) AS newest",
        values![SAMPLE],
    )?;
    let lines = chain.saturating_add(kept.unwrap_or_default().unsigned_abs());
    Ok(lines.saturating_mul(each.unwrap_or_default().unsigned_abs() + AROUND))
}
