//! The size of the audit trail on disk, and what it may be.

use crate::{
    audit_trail,
    sqlite_store::tests::*,
    store::TrailLimit,
    telemetry::audit::{Actor, AuditEvent, Decision},
};

const MIB: u64 = 1024 * 1024;

fn event(number: u64) -> AuditEvent {
    AuditEvent {
        detail: format!("number {number} {}", "x".repeat(200)),
        ..AuditEvent::new(at(number), Actor::Daemon, "token.renewed", Decision::Allowed)
    }
}

async fn trail(lines: u64) -> (TempDir, SqliteStore) {
    let (folder, store) = fresh();
    for first in (1..=lines).step_by(500) {
        let some = (first..(first + 500).min(lines + 1)).map(event);
        store.append_audit(some.collect()).await.unwrap();
    }
    (folder, store)
}

async fn kept(store: &SqliteStore) -> u64 {
    let report = store.verify_audit(None).await.unwrap();
    assert_eq!(report.problem, None);
    report.lines
}

/// The pages of the trail, as another program would count them.
fn pages(folder: &TempDir) -> u64 {
    let bytes: i64 = raw(folder.path())
        .query_row(
            "SELECT sum(pgsize) FROM dbstat WHERE name GLOB 'audit*'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    bytes.unsigned_abs()
}

/// But for the pages that tell where others are, one in eight hundred and the first.
#[track_caller]
fn assert_is_that_of_its_pages(bytes: u64, folder: &TempDir) {
    let pages = pages(folder);
    assert!(
        pages <= bytes && bytes <= pages + pages / 200 + 2 * 4096,
        "{bytes}, of pages {pages}"
    );
}

#[tokio::test]
async fn the_size_is_that_of_the_trails_pages_and_of_nothing_else() {
    let (folder, store) = trail(3000).await;
    for number in 1..=300 {
        store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
    }
    let size = store.trail_size().await.unwrap();
    assert_eq!(size.limit, None);
    assert_is_that_of_its_pages(size.bytes, &folder);
    assert!(size.bytes > MIB, "{}", size.bytes);
    assert!(size.bytes < store.facts().await.unwrap().bytes);
}

#[tokio::test]
async fn what_is_too_much_goes_from_the_start_in_steps_and_the_rest_is_whole() {
    let (folder, store) = trail(9000).await;
    let before = store.trail_size().await.unwrap().bytes;
    let most = before / 2;
    let gone = store.bound_audit(most).await.unwrap();
    let after = store.trail_size().await.unwrap();
    assert!(
        after.bytes <= most && after.bytes > most / 2,
        "{} of {most}",
        after.bytes
    );
    assert_is_that_of_its_pages(after.bytes, &folder);
    assert_eq!(
        after.limit,
        Some(TrailLimit {
            bytes: most,
            of_volume: false
        })
    );
    assert!(gone > 3 * audit_trail::prune::STEP, "{gone}");
    assert_eq!(kept(&store).await, 9000 - gone);
    assert_eq!(store.audit(0, 1, false).await.unwrap()[0].sequence, gone + 1);
    // As much as it may take is not too much.
    assert_eq!(store.bound_audit(most).await.unwrap(), 0);
    // What comes later is found out as well, and what was cut off is missed.
    raw(folder.path())
        .execute(
            "DELETE FROM audit WHERE sequence = ?",
            [crate::sql::column::integer(gone + 1)],
        )
        .unwrap();
    let problem = store
        .verify_audit(None)
        .await
        .unwrap()
        .problem
        .unwrap()
        .to_string();
    assert_eq!(problem, format!("line {} is missing: it was removed", gone + 1));
}

#[tokio::test]
async fn other_records_cost_the_trail_nothing() {
    let (_folder, store) = trail(500).await;
    for number in 1..=500 {
        store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
    }
    let size = store.trail_size().await.unwrap().bytes;
    assert!(store.facts().await.unwrap().bytes > 2 * size);
    assert_eq!(store.bound_audit(size).await.unwrap(), 0);
    assert_eq!(kept(&store).await, 500);
}

#[tokio::test]
async fn half_of_the_volume_is_the_most() {
    let limit = audit_trail::size::Limit::default();
    let of = |bytes, of_volume| TrailLimit { bytes, of_volume };
    assert_eq!(limit.set(512 * MIB, Some(8 * MIB)), of(4 * MIB, true));
    assert_eq!(limit.get(), Some(of(4 * MIB, true)));
    assert_eq!(limit.set(512 * MIB, Some(1024 * MIB)), of(512 * MIB, false));
    assert_eq!(limit.set(512 * MIB, None), of(512 * MIB, false));
}

#[tokio::test]
async fn a_trail_whose_last_old_line_was_removed_is_not_pruned_over_that() {
    let (folder, store) = trail(3000).await;
    let most = store.trail_size().await.unwrap().bytes / 2;
    raw(folder.path())
        .execute("DELETE FROM audit WHERE sequence = 1000", [])
        .unwrap();
    let error = store.bound_audit(most).await.unwrap_err().to_string();
    assert!(error.contains("audit line 1000"), "{error}");
    assert_eq!(store.audit(0, 1, false).await.unwrap()[0].sequence, 1);
}
