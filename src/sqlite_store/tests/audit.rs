//! The audit trail in the database.

use crate::{
    sqlite_store::tests::*,
    store::TrailReport,
    telemetry::audit::{Actor, AuditEvent, ChainFault, Concern, Decision},
};

fn event(number: u64) -> AuditEvent {
    AuditEvent {
        time: at(number),
        actor: Actor::Admin(1000),
        action: "integration.connected",
        integration: number.is_multiple_of(2).then(|| id(1)),
        capabilities: ["google.gmail.send", "google.calendar"][..usize::try_from(number % 3).unwrap()]
            .iter()
            .map(|key| key.parse().unwrap())
            .collect(),
        decision: Decision::Allowed,
        detail: format!("number {number} — \"quoted\"\n"),
        concern: Concern::default(),
    }
}

/// A trail of that many lines, one per second.
async fn trail(length: u64) -> (TempDir, SqliteStore) {
    let (folder, store) = fresh();
    let (first, second) = (1..=length / 2, length / 2 + 1..=length);
    store.append_audit(first.map(event).collect()).await.unwrap();
    store.append_audit(second.map(event).collect()).await.unwrap();
    (folder, store)
}

async fn problem_after(sql: &str) -> String {
    let (folder, store) = trail(6).await;
    raw(folder.path()).execute_batch(sql).unwrap();
    store
        .verify_audit(None)
        .await
        .unwrap()
        .problem
        .map(|fault| fault.to_string())
        .unwrap_or_default()
}

async fn sequences(store: &SqliteStore, after: u64, limit: u32, newest: bool) -> Vec<u64> {
    store
        .audit(after, limit, newest)
        .await
        .unwrap()
        .iter()
        .map(|line| line.sequence)
        .collect()
}

#[tokio::test]
async fn a_trail_survives_a_restart_and_goes_on() {
    let (folder, store) = trail(5).await;
    drop(store);
    let store = open(&folder);
    store.append_audit(vec![event(6)]).await.unwrap();
    store.append_audit(Vec::new()).await.unwrap();
    assert_eq!(
        store.verify_audit(None).await.unwrap(),
        TrailReport {
            lines: 6,
            problem: None
        }
    );
    let lines = store.audit(0, 100, false).await.unwrap();
    assert_eq!(lines[4].actor, "admin:uid=1000");
    assert_eq!(lines[4].capabilities, ["google.gmail.send", "google.calendar"]);
    assert_eq!(lines[4].integration, "");
    assert_eq!(lines[5].integration, id(1).as_str());
    assert_eq!(lines[5].time, at(6));
    assert_eq!(lines[5].detail, "number 6 — \"quoted\"\n");
}

#[tokio::test]
async fn pages_come_oldest_first_from_either_end() {
    let (_folder, store) = trail(6).await;
    assert_eq!(sequences(&store, 0, 2, false).await, [1, 2]);
    assert_eq!(sequences(&store, 4, 10, false).await, [5, 6]);
    assert_eq!(sequences(&store, 0, 2, true).await, [5, 6]);
    assert_eq!(sequences(&store, 5, 2, true).await, [6]);
}

#[tokio::test]
async fn an_edited_line_is_named() {
    for column in [
        "actor",
        "action",
        "integration",
        "capabilities",
        "decision",
        "detail",
        "hash",
    ] {
        let problem = problem_after(&format!(
            "UPDATE audit SET {column} = {column} || ' ' WHERE sequence = 3"
        ))
        .await;
        assert!(
            problem.starts_with("line 3 does not match its hash"),
            "{column}: {problem}"
        );
    }
    let problem = problem_after("UPDATE audit SET time = time + 1 WHERE sequence = 3").await;
    assert!(problem.starts_with("line 3 does not match its hash"), "{problem}");
    let problem = problem_after("UPDATE audit SET time = 9223372036854775807 WHERE sequence = 3").await;
    assert!(
        problem.starts_with("line 3 cannot be read: its time does not make sense"),
        "{problem}"
    );
}

#[tokio::test]
async fn removed_and_inserted_lines_are_named() {
    assert_eq!(
        problem_after("DELETE FROM audit WHERE sequence IN (3, 4)").await,
        "lines 3 to 4 are missing: they were removed"
    );
    assert_eq!(
        problem_after("DELETE FROM audit WHERE sequence = 1").await,
        "line 1 is missing: it was removed"
    );
    assert_eq!(
        problem_after("DELETE FROM audit WHERE sequence > 4").await,
        "lines 5 to 6 are missing: they were removed"
    );
    assert_eq!(
        problem_after("DELETE FROM audit").await,
        "lines 1 to 6 are missing: they were removed"
    );
    let copy = "INSERT INTO audit SELECT 7, time, actor, action, integration, capabilities, decision, detail, hash, \
                owner, agent, NULL FROM audit WHERE sequence = 6";
    assert_eq!(
        problem_after(copy).await,
        "line 7 was inserted: the trail ends at line 6"
    );
    let moved = "UPDATE audit SET sequence = 99 WHERE sequence = 4; UPDATE audit SET sequence = 4 WHERE sequence = 5; \
                 UPDATE audit SET sequence = 5 WHERE sequence = 99";
    assert!(
        problem_after(moved)
            .await
            .starts_with("line 4 does not match its hash")
    );
}

#[tokio::test]
async fn a_tail_that_is_cut_off_is_missed_also_after_more_was_written() {
    let (folder, store) = trail(6).await;
    raw(folder.path())
        .execute("DELETE FROM audit WHERE sequence = 6", [])
        .unwrap();
    store.append_audit(vec![event(7)]).await.unwrap();
    assert_eq!(
        store.verify_audit(None).await.unwrap(),
        TrailReport {
            lines: 6,
            problem: Some(ChainFault::Missing { first: 6, last: 6 }.into())
        }
    );
}

#[tokio::test]
async fn a_pruned_trail_verifies_from_where_it_begins() {
    let (folder, store) = trail(6).await;
    assert_eq!(store.prune_audit(at(0)).await.unwrap(), 0);
    assert_eq!(store.prune_audit(at(4)).await.unwrap(), 3);
    assert_eq!(sequences(&store, 0, 10, false).await, [4, 5, 6]);
    assert_eq!(
        store.verify_audit(None).await.unwrap(),
        TrailReport {
            lines: 3,
            problem: None
        }
    );
    raw(folder.path())
        .execute("DELETE FROM audit WHERE sequence = 4", [])
        .unwrap();
    let report = store.verify_audit(None).await.unwrap();
    assert_eq!(
        report.problem.unwrap().to_string(),
        "line 4 is missing: it was removed"
    );
}

#[tokio::test]
async fn a_trail_can_be_pruned_whole_and_goes_on() {
    let (_folder, store) = trail(2500).await;
    assert_eq!(store.prune_audit(at(9999)).await.unwrap(), 2500);
    assert_eq!(store.prune_audit(at(9999)).await.unwrap(), 0);
    store.append_audit(vec![event(1)]).await.unwrap();
    assert_eq!(sequences(&store, 0, 10, false).await, [2501]);
    assert_eq!(
        store.verify_audit(None).await.unwrap(),
        TrailReport {
            lines: 1,
            problem: None
        }
    );
}

#[tokio::test]
async fn pruning_stops_at_the_first_young_line_whatever_the_clock_did() {
    let (_folder, store) = fresh();
    store
        .append_audit(vec![event(1), event(100), event(2), event(3)])
        .await
        .unwrap();
    assert_eq!(store.prune_audit(at(50)).await.unwrap(), 1);
    assert_eq!(
        store.verify_audit(None).await.unwrap(),
        TrailReport {
            lines: 3,
            problem: None
        }
    );
}

#[tokio::test]
async fn pruning_does_not_hide_a_removed_line() {
    let (folder, store) = trail(6).await;
    raw(folder.path())
        .execute("DELETE FROM audit WHERE sequence = 3", [])
        .unwrap();
    let error = store.prune_audit(at(4)).await.unwrap_err().to_string();
    assert!(
        error.contains("audit line 3") && error.contains("it is missing"),
        "{error}"
    );
    assert_eq!(sequences(&store, 0, 10, false).await, [1, 2, 4, 5, 6]);
}
