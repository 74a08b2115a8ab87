//! Somebody cuts the audit trail who has not the master key.

use crate::{
    sqlite_store::tests::*,
    telemetry::audit::{Actor, AuditEvent, ChainPoint, Decision},
};

fn event(number: u64) -> AuditEvent {
    AuditEvent {
        detail: format!("number {number}"),
        ..AuditEvent::new(at(number), Actor::Daemon, "token.renewed", Decision::Allowed)
    }
}

async fn trail() -> (TempDir, SqliteStore) {
    let (folder, store) = fresh();
    store.append_audit((1..=6).map(event).collect()).await.unwrap();
    (folder, store)
}

async fn problem(store: &SqliteStore) -> Option<String> {
    let problem = store.verify_audit(None).await.unwrap().problem;
    problem.map(|fault| fault.to_string())
}

/// Cuts lines off at both ends and notes the ends as they are then.
const CUT: &str = "DELETE FROM audit WHERE sequence IN (1, 6); \
    UPDATE audit_ends SET start_sequence = 1, start_hash = (SELECT hash FROM old.audit WHERE sequence = 1), \
    end_sequence = 5, end_hash = (SELECT hash FROM audit WHERE sequence = 5)";

fn attack(folder: &TempDir, before: &TempDir, sql: &str) {
    let database = raw(folder.path());
    let attach = format!("ATTACH '{}' AS old", before.path().join(DATABASE).display());
    database.execute_batch(&format!("{attach}; {sql}")).unwrap();
}

#[tokio::test]
async fn ends_that_somebody_else_wrote_are_noticed_and_stay_known() {
    for attempt in [
        CUT,
        "DELETE FROM audit_ends",
        "DELETE FROM audit; DELETE FROM audit_ends",
        "UPDATE audit_ends SET mac = NULL",
        "DELETE FROM audit; INSERT OR REPLACE INTO audit_ends VALUES (1, 0, printf('%064d', 0), 0, printf('%064d', 0), 0, NULL)",
        "UPDATE audit_ends SET start_sequence = -1",
    ] {
        let (folder, store) = trail().await;
        attack(&folder, &crashed_copy(&folder), attempt);
        let found = problem(&store).await.unwrap();
        assert!(
            found.starts_with("where the trail begins and ends was not noted by this broker"),
            "{attempt}: {found}"
        );
        // Neither going on nor a restart makes it whole again.
        store.append_audit(vec![event(7)]).await.unwrap();
        let noticed = store.audit(0, 2, true).await.unwrap()[0].clone();
        assert_eq!(
            (noticed.action.as_str(), noticed.decision.as_str()),
            ("audit.altered", "failed"),
            "{attempt}"
        );
        drop(store);
        let store = open(&folder);
        store.append_audit(vec![event(8)]).await.unwrap();
        let known = format!("had been altered when line {} was written", noticed.sequence);
        let found = problem(&store).await.unwrap();
        assert!(found.contains(&known), "{attempt}: {found}");
        let told = store.audit(0, 100, false).await.unwrap();
        assert_eq!(
            told.iter().filter(|line| line.action == "audit.altered").count(),
            1,
            "{attempt}"
        );
    }
}

/// A line, put where the next one is to be written.
const IN_THE_WAY: &str = "INSERT INTO audit (sequence, time, actor, action, integration, capabilities, decision, detail, hash) \
    SELECT 7, time, actor, action, integration, capabilities, decision, 'in the way', hash FROM audit WHERE sequence = 6";

#[tokio::test]
async fn no_line_and_no_end_of_somebody_else_keeps_the_trail_from_going_on() {
    for attempt in [
        IN_THE_WAY,
        "UPDATE audit_ends SET end_sequence = 3",
        "UPDATE audit_ends SET end_sequence = 9223372036854775807",
        "UPDATE audit SET sequence = 9223372036854775807 WHERE sequence = 6; DELETE FROM audit_ends",
        "INSERT INTO audit SELECT sequence + (1 << 62) - 5, time, actor, action, integration, capabilities, decision, '', \
         hash, owner, agent, mac FROM audit WHERE sequence >= 5",
    ] {
        let (folder, store) = trail().await;
        attack(&folder, &crashed_copy(&folder), attempt);
        for number in 7..=9 {
            store.append_audit(vec![event(number)]).await.unwrap();
        }
        let told = store.audit(0, 100, false).await.unwrap();
        for detail in (1..=9).map(|number| format!("number {number}")) {
            assert!(
                told.iter().any(|line| line.detail == detail),
                "{attempt}: {detail} is gone"
            );
        }
        assert!(problem(&store).await.is_some(), "{attempt}");
    }
}

#[tokio::test]
async fn what_was_altered_is_over_when_all_of_it_was_pruned() {
    let (folder, store) = trail().await;
    attack(&folder, &crashed_copy(&folder), CUT);
    store.append_audit(vec![event(10), event(20)]).await.unwrap();
    store.prune_audit(at(5)).await.unwrap();
    assert!(problem(&store).await.is_some());
    store.prune_audit(at(10)).await.unwrap();
    assert_eq!(problem(&store).await, None);
}

#[tokio::test]
async fn an_older_copy_of_all_of_it_is_noticed_by_a_head_that_was_noted_down() {
    let (folder, store) = trail().await;
    let before = crashed_copy(&folder);
    store.append_audit(vec![event(7)]).await.unwrap();
    let head = store.trail_head().await.unwrap();
    assert_eq!(head.sequence, 7);
    assert_eq!(
        store.verify_audit(Some(head.clone())).await.unwrap().problem,
        None
    );
    drop(store);
    let store = open(&before);
    assert_eq!(problem(&store).await, None, "it is whole in itself");
    let found = store
        .verify_audit(Some(head.clone()))
        .await
        .unwrap()
        .problem
        .unwrap()
        .to_string();
    assert_eq!(
        found,
        "the trail ends at line 6, and line 7 was there once: an older copy of the database took its place"
    );
    store.append_audit(vec![event(8), event(9)]).await.unwrap();
    let found = store
        .verify_audit(Some(head))
        .await
        .unwrap()
        .problem
        .unwrap()
        .to_string();
    assert!(
        found.starts_with("line 7 is another one than was there once"),
        "{found}"
    );
}

/// A trail as the version before left it: its ends are not bound.
fn of_before() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let old = raw(folder.path());
    for migration in &schema::MIGRATIONS[..11] {
        old.execute_batch(migration).unwrap();
    }
    let mut end = ChainPoint::default();
    for number in 1..=6 {
        let line = end.append(&event(number));
        old.execute(
            "INSERT INTO audit (sequence, time, actor, action, integration, capabilities, decision, detail, hash) \
             VALUES (?, ?, ?, ?, '', '', ?, ?, ?)",
            rusqlite::params![
                crate::sql::column::integer(number), line.time.as_microsecond(), line.actor, line.action, line.decision, line.detail, line.hash
            ],
        )
        .unwrap();
    }
    old.execute("INSERT INTO audit_bounds VALUES ('end', 6, ?)", [end.hash])
        .unwrap();
    let check = vault(1).seal(&Binding::KeyCheck, b"token-broker");
    let key = vault(1).active_key().to_string();
    old.execute(
        "INSERT INTO master_keys VALUES (?, ?)",
        rusqlite::params![key, check.as_bytes()],
    )
    .unwrap();
    old.pragma_update(None, "application_id", 0x746b_6272).unwrap();
    old.pragma_update(None, "user_version", 11).unwrap();
    folder
}

#[tokio::test]
async fn a_trail_of_before_is_taken_over_once() {
    let folder = of_before();
    for _ in ["first start", "second start"] {
        let store = open(&folder);
        let report = store.verify_audit(None).await.unwrap();
        assert_eq!((report.lines, report.problem), (6, None));
    }
    let before = of_before();
    let strip = format!("{CUT}; UPDATE audit_ends SET mac = NULL");
    for more in [
        "",
        "DELETE FROM master_keys",
        "PRAGMA user_version = 11; ALTER TABLE integrations DROP COLUMN former; ALTER TABLE secrets DROP COLUMN proof_key; ALTER TABLE audit DROP COLUMN mac; \
         DROP TABLE keyring_store; DROP TABLE keyring_keys; DROP TABLE audit_clock; DROP TABLE audit_days; DROP TABLE audit_weeks; DROP TABLE audit_counts; DROP TABLE audit_ends; CREATE TABLE audit_bounds (bound TEXT, sequence INTEGER, hash TEXT); \
         INSERT INTO audit_bounds SELECT 'end', sequence, hash FROM audit WHERE sequence = 5; \
         INSERT INTO audit_bounds SELECT 'start', sequence, hash FROM old.audit WHERE sequence = 1",
    ] {
        let copy = crashed_copy(&folder);
        attack(&copy, &before, &format!("{strip}; {more}"));
        for start in ["first", "second"] {
            let found = problem(&open(&copy)).await;
            assert!(found.is_some(), "{start} start after {more}");
        }
    }
}

#[tokio::test]
async fn an_old_key_check_binds_no_ends_that_are_bound() {
    let (folder, store) = trail().await;
    drop(store);
    let before = of_before();
    attack(
        &folder,
        &before,
        &format!("{CUT}; INSERT OR REPLACE INTO master_keys SELECT * FROM old.master_keys"),
    );
    for start in ["first", "second"] {
        assert!(problem(&open(&folder)).await.is_some(), "{start} start");
    }
}
