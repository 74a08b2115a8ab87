//! What is done to the audit trail over time, step by step, so that nothing that is written waits for long.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    audit_trail::{
        count::{self, Progress},
        prune,
        size::SLACK,
    },
    sql::{Fault, Sql},
    store::{StoreError, StoreFuture},
    vault::Vault,
};

/// A store whose audit trail is kept up.
pub(crate) trait Keeper: Sync {
    /// Reads in a transaction of its own.
    fn read_step<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql, &Vault) -> Result<T, Fault> + Send + 'static;

    /// Writes in a transaction, perhaps beside others.
    fn write_step<T, F>(&self, work: F) -> StoreFuture<'_, T>
    where
        T: Send + 'static,
        F: FnMut(&dyn Sql, &Vault) -> Result<T, Fault> + Send + 'static;

    /// How many of the oldest lines are to go, so that the trail takes no more than `most` bytes.
    fn surplus(&self, most: u64) -> StoreFuture<'_, u64>;
}

/// Deletes the lines that are older than `before`; returns how many.
pub(crate) async fn prune(store: &impl Keeper, before: Timestamp) -> Result<u64, StoreError> {
    let mut pruned = 0;
    loop {
        let step = store.write_step(move |sql, vault| prune::older(sql, vault, before));
        match step.await? {
            0 => return Ok(pruned),
            step => pruned += step,
        }
    }
}

/// Deletes the oldest lines until the trail takes clearly less than `limit` bytes, where it takes more; returns how many.
pub(crate) async fn bound(store: &impl Keeper, limit: u64) -> Result<u64, StoreError> {
    let mut target = limit;
    let mut pruned = 0;
    loop {
        let surplus = store.surplus(target).await?;
        if surplus == 0 {
            return Ok(pruned);
        }
        // Once it is too much, more goes than is needed, so that it is not done line by line.
        target = limit - limit / SLACK;
        let step = store.write_step(move |sql, vault| prune::oldest(sql, vault, surplus));
        match step.await? {
            0 => return Ok(pruned),
            step => pruned += step,
        }
    }
}

/// Counts the routine lines of each whole week that is older than `before`, in place of keeping them; returns how many lines
/// were gone through.
pub(crate) async fn count(store: &impl Keeper, before: Timestamp) -> Result<u64, StoreError> {
    let mut lines = 0;
    loop {
        lines += clear(store).await?;
        let Some(mut tally) = store
            .read_step(move |sql, vault| count::next(sql, vault, before))
            .await?
        else {
            return Ok(lines);
        };
        let progress = loop {
            let (read_on, progress) = store
                .read_step(move |sql, _| {
                    let progress = tally.read_on(sql)?;
                    Ok((tally, progress))
                })
                .await?;
            tally = read_on;
            if progress != Progress::More {
                break progress;
            }
        };
        if progress == Progress::NotYet {
            return Ok(lines);
        }
        let (week, counts) = tally.finish();
        while store.write_step(|sql, _| count::remove_unfinished(sql)).await? > 0 {}
        let counts = Arc::new(counts);
        for from in (0..counts.len()).step_by(count::STEP) {
            let (counts, end_hash) = (counts.clone(), week.end.hash.clone());
            let to = counts.len().min(from + count::STEP);
            store
                .write_step(move |sql, vault| count::write(sql, vault, &counts[from..to], &end_hash))
                .await?;
        }
        let begun = store.write_step(move |sql, vault| count::begin(sql, vault, &week));
        if !begun.await? {
            return Ok(lines);
        }
    }
}

/// Removes what was counted; returns how many lines were gone through.
async fn clear(store: &impl Keeper) -> Result<u64, StoreError> {
    let mut lines = 0;
    loop {
        match store.write_step(count::clear).await? {
            0 => return Ok(lines),
            step => lines += step,
        }
    }
}
