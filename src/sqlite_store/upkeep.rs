//! What is done to the audit trail over time, step by step, so that nothing that is written waits for long.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    audit_trail::{self, count::Progress},
    sqlite::{file_system, operation::Rank},
    sqlite_store::{database::SqliteStore, give_back},
    store::StoreError,
};

/// Deletes the lines that are older than `before`; returns how many.
pub(super) async fn prune(store: &SqliteStore, before: Timestamp) -> Result<u64, StoreError> {
    let mut pruned = 0;
    loop {
        let step = store.write_bound(Rank::Vital, move |connection, vault| {
            audit_trail::prune::older(connection, vault, before)
        });
        match step.await? {
            0 => break,
            step => pruned += step,
        }
    }
    give_back(store).await?;
    Ok(pruned)
}

/// Deletes the oldest lines until the trail takes clearly less than `most` bytes, or than half of its volume; returns how many.
pub(super) async fn bound(store: &SqliteStore, most: u64) -> Result<u64, StoreError> {
    let limit = store
        .trail_limit
        .set(most, file_system::size(&store.state_dir))
        .bytes;
    let mut target = limit;
    let mut pruned = 0;
    loop {
        let surplus = store
            .read(move |connection| audit_trail::size::surplus(connection, target))
            .await?;
        if surplus == 0 {
            break;
        }
        // Once it is too much, more goes than is needed, so that it is not done line by line.
        target = limit - limit / audit_trail::size::SLACK;
        let step = store.write_bound(Rank::Vital, move |connection, vault| {
            audit_trail::prune::oldest(connection, vault, surplus)
        });
        match step.await? {
            0 => break,
            step => pruned += step,
        }
    }
    if pruned > 0 {
        give_back(store).await?;
    }
    Ok(pruned)
}

/// Gives room that is free back to the disk.
async fn give_back(store: &SqliteStore) -> Result<(), StoreError> {
    while store.write(Rank::Vital, give_back::step).await? > 0 {}
    Ok(())
}

/// Counts the routine lines of each whole week that is older than `before`, in place of keeping them; returns how many lines
/// were gone through.
pub(super) async fn count(store: &SqliteStore, before: Timestamp) -> Result<u64, StoreError> {
    let lines = count_weeks(store, before).await?;
    give_back(store).await?;
    Ok(lines)
}

async fn count_weeks(store: &SqliteStore, before: Timestamp) -> Result<u64, StoreError> {
    let mut lines = 0;
    loop {
        lines += clear(store).await?;
        let Some(mut tally) = store
            .read_bound(move |connection, vault| audit_trail::count::next(connection, vault, before))
            .await?
        else {
            return Ok(lines);
        };
        let progress = loop {
            let (read_on, progress) = store
                .read(move |connection| {
                    let progress = tally.read_on(connection)?;
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
        while store
            .write(Rank::Vital, audit_trail::count::remove_unfinished)
            .await?
            > 0
        {}
        let counts = Arc::new(counts);
        for from in (0..counts.len()).step_by(audit_trail::count::STEP) {
            let (counts, end_hash) = (counts.clone(), week.end.hash.clone());
            let to = counts.len().min(from + audit_trail::count::STEP);
            store
                .write_bound(Rank::Vital, move |connection, vault| {
                    audit_trail::count::write(connection, vault, &counts[from..to], &end_hash)
                })
                .await?;
        }
        let begun = store.write_bound(Rank::Vital, move |connection, vault| {
            audit_trail::count::begin(connection, vault, &week)
        });
        if !begun.await? {
            return Ok(lines);
        }
    }
}

/// Removes what was counted; returns how many lines were gone through.
async fn clear(store: &SqliteStore) -> Result<u64, StoreError> {
    let mut lines = 0;
    loop {
        match store.write_bound(Rank::Vital, audit_trail::count::clear).await? {
            0 => return Ok(lines),
            step => lines += step,
        }
    }
}
