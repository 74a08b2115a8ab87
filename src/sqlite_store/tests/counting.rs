//! Routine lines of the audit trail that are counted in place of being kept.

use crate::{
    audit_trail::{
        self,
        week::{Count, Week},
    },
    clock::Uptime as Up,
    id::OwnerId,
    sqlite_store::tests::*,
    store::{TrailFilter, TrailPlace},
    telemetry::audit::{Actor, AuditEvent, AuditLine, ChainPoint, Concern, Counted, Decision},
};

const DAY: u64 = 24 * 3600;

fn day(number: u64) -> Timestamp {
    at(number * DAY)
}

/// The same boot, so many days after its start.
fn up(days: u64) -> BootMoment {
    BootMoment {
        boot: BootId::from_bytes([1; 16]),
        uptime: Up::START.after(Duration::from_secs(days * DAY)),
    }
}

fn used(number: u64, agent: &str, owner: &str) -> AuditEvent {
    let owner: OwnerId = owner.parse().unwrap();
    AuditEvent {
        integration: Some(id(1)),
        capabilities: vec!["google.gmail.send".parse().unwrap()],
        detail: format!("use {number}"),
        concern: Concern::agent(&owner, &agent.parse().unwrap()),
        ..AuditEvent::new(
            day(number),
            Actor::Agent(agent.into()),
            "token.used",
            Decision::Allowed,
        )
    }
}

fn put(number: u64) -> AuditEvent {
    AuditEvent {
        detail: format!("put {number}"),
        ..AuditEvent::new(day(number), Actor::Admin(0), "agent.put", Decision::Allowed)
    }
}

/// A trail of so many days: on each, ten uses by each of two agents of two owners, and one line that is not routine.
async fn of_days(days: u64) -> (TempDir, SqliteStore) {
    let (folder, store) = fresh();
    for number in 0..days {
        store.tick_trail(day(number), Some(up(number))).await.unwrap();
        let mut lines = vec![put(number)];
        for _ in 0..10 {
            lines.push(used(number, "bot", "alice"));
            lines.push(used(number, "robot", "bob"));
        }
        store.append_audit(lines).await.unwrap();
    }
    (folder, store)
}

const A_DAY: u64 = 21;

async fn problem(store: &SqliteStore) -> Option<String> {
    let problem = store.verify_audit(None).await.unwrap().problem;
    problem.map(|fault| fault.to_string())
}

async fn whole(store: &SqliteStore) -> u64 {
    let report = store.verify_audit(None).await.unwrap();
    assert_eq!(report.problem, None);
    report.lines
}

async fn listed(store: &SqliteStore) -> Vec<AuditLine> {
    store.audit(0, 10_000, false).await.unwrap()
}

fn rows(folder: &TempDir, table: &str) -> i64 {
    let count = format!("SELECT count(*) FROM {table}");
    raw(folder.path())
        .query_row(&count, [], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn routine_lines_of_whole_weeks_are_counted_and_the_others_stay() {
    let (folder, store) = of_days(20).await;
    // By the seventh day a week is over, and it is a week ago on the fourteenth.
    assert_eq!(store.count_audit(day(6)).await.unwrap(), 0);
    assert_eq!(store.count_audit(day(13)).await.unwrap(), 7 * A_DAY);
    assert_eq!(store.count_audit(day(13)).await.unwrap(), 0);
    assert_eq!(whole(&store).await, 20 * A_DAY);
    assert_eq!(rows(&folder, "audit_counts"), 2);
    assert_eq!(rows(&folder, "audit"), i64::try_from(13 * A_DAY + 7).unwrap());

    let lines = listed(&store).await;
    let counted: Vec<_> = lines.iter().filter(|line| line.counted.is_some()).collect();
    assert_eq!(counted.len(), 2);
    let bots = counted[0];
    assert_eq!(
        (bots.actor.as_str(), bots.action.as_str()),
        ("agent:bot", "token.used")
    );
    assert_eq!(bots.capabilities, ["google.gmail.send"]);
    assert_eq!((bots.sequence, bots.time), (7 * A_DAY - 1, day(6)));
    assert_eq!(
        bots.counted,
        Some(Counted {
            lines: 70,
            first: day(0)
        })
    );
    assert_eq!(bots.detail, "counted: 70 times since 2024-01-15T10:30:00Z");
    assert_eq!(counted[1].actor, "agent:robot");
    assert_eq!(
        lines[..7]
            .iter()
            .map(|line| line.action.as_str())
            .collect::<Vec<_>>(),
        ["agent.put"; 7]
    );
    assert!(lines.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));

    // It goes on with the next week, and after a restart.
    assert_eq!(store.count_audit(day(14)).await.unwrap(), 7 * A_DAY);
    drop(store);
    let store = open(&folder);
    assert_eq!(whole(&store).await, 20 * A_DAY);
    assert_eq!(rows(&folder, "audit_counts"), 4);
    store.append_audit(vec![put(20)]).await.unwrap();
    assert_eq!(whole(&store).await, 20 * A_DAY + 1);
}

#[tokio::test]
async fn an_owner_sees_their_counts_and_nobody_elses() {
    let (_folder, store) = of_days(20).await;
    store.count_audit(day(13)).await.unwrap();
    let of_alice = TrailFilter {
        owner: Some("alice".parse().unwrap()),
        ..TrailFilter::default()
    };
    let page = store
        .trail(of_alice, TrailPlace::Before(7 * A_DAY + 1), 100)
        .await
        .unwrap();
    assert_eq!(page.lines.len(), 1);
    assert_eq!(page.lines[0].actor, "agent:bot");
    let everything = store
        .trail(TrailFilter::default(), TrailPlace::Before(7 * A_DAY + 1), 100)
        .await
        .unwrap();
    assert_eq!((everything.lines.len(), everything.older), (9, None));
    let towards_today = store
        .trail(TrailFilter::default(), TrailPlace::After(0), 9)
        .await
        .unwrap();
    assert_eq!(towards_today.lines.len(), 9);
    assert!(towards_today.newer.is_some());
}

#[tokio::test]
async fn whatever_is_changed_in_a_counted_week_is_found() {
    let edits = [
        (
            "UPDATE audit_counts SET count = count + 1 WHERE sequence = 146",
            "the count at audit line 146",
        ),
        (
            "UPDATE audit_counts SET count = count - 1; ",
            "the count at audit line 146",
        ),
        (
            "UPDATE audit_counts SET actor = 'agent:other'",
            "the count at audit line 146",
        ),
        (
            "UPDATE audit_counts SET owner = 'mallory'",
            "the count at audit line 146",
        ),
        (
            "UPDATE audit_counts SET first_time = first_time + 1",
            "the count at audit line 146",
        ),
        (
            "UPDATE audit_counts SET sequence = 100 WHERE sequence = 146",
            "the count at audit line 100",
        ),
        (
            "DELETE FROM audit_counts WHERE sequence = 146",
            "there were 147, and counts and lines tell of 77",
        ),
        (
            "INSERT INTO audit_counts SELECT 5, time, actor, action, integration, capabilities, decision, owner, agent, count, \
          first_time, mac FROM audit_counts WHERE sequence = 146",
            "the count at audit line 5",
        ),
        (
            "UPDATE audit SET detail = 'nothing' WHERE sequence = 1",
            "line 1: it was altered",
        ),
        (
            "UPDATE audit SET hash = replace(hash, 'a', 'b') WHERE sequence = 22",
            "line 22: it was altered",
        ),
        (
            "DELETE FROM audit WHERE sequence = 22",
            "there were 147, and counts and lines tell of 146",
        ),
        (
            "INSERT INTO audit SELECT 2, time, actor, action, integration, capabilities, decision, detail, hash, owner, agent, \
          mac FROM audit WHERE sequence = 1",
            "line 2: it was altered",
        ),
        (
            "UPDATE audit SET mac = NULL WHERE sequence = 22",
            "line 22: it was not written by this broker",
        ),
        ("DELETE FROM audit_weeks", "lines 2 to 21 are missing"),
        (
            "DELETE FROM audit_weeks; DELETE FROM audit_counts; DELETE FROM audit WHERE sequence <= 147",
            "lines 1 to 147 are missing",
        ),
        (
            "UPDATE audit_weeks SET last = last - 1",
            "what is noted of them is not this broker's",
        ),
        (
            "UPDATE audit_weeks SET cleared = 146",
            "what is noted of them is not this broker's",
        ),
        ("DELETE FROM audit WHERE sequence = 148", "line 148 is missing"),
    ];
    for (edit, expected) in edits {
        let (folder, store) = of_days(20).await;
        store.count_audit(day(13)).await.unwrap();
        raw(folder.path()).execute_batch(edit).unwrap();
        let found = problem(&store).await.unwrap_or_default();
        assert!(found.contains(expected), "{edit}: {found}");
    }
}

#[tokio::test]
async fn over_a_line_that_was_edited_or_removed_nothing_is_counted() {
    for edit in [
        "UPDATE audit SET detail = 'nothing' WHERE sequence = 30",
        "DELETE FROM audit WHERE sequence = 30",
        "DELETE FROM audit WHERE sequence = 147",
    ] {
        let (folder, store) = of_days(20).await;
        raw(folder.path()).execute_batch(edit).unwrap();
        let error = store.count_audit(day(13)).await.unwrap_err().to_string();
        assert!(error.contains("`audit verify` says more"), "{edit}: {error}");
        assert_eq!(rows(&folder, "audit_weeks"), 0, "{edit}");
        assert!(problem(&store).await.is_some(), "{edit}");
    }
}

/// The next week that is older than `before`, and what is counted in it.
async fn added_up(store: &SqliteStore, before: Timestamp) -> (Week, Vec<Count>) {
    let mut tally = store
        .read_bound(move |connection, vault| audit_trail::count::next(connection, vault, before))
        .await
        .unwrap()
        .unwrap();
    store
        .read(move |connection| {
            assert_eq!(tally.read_on(connection)?, audit_trail::count::Progress::Whole);
            Ok(tally.finish())
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn a_kill_between_any_two_steps_loses_nothing_and_is_gone_on_with() {
    let (folder, store) = of_days(100).await;
    let all = whole(&store).await;
    // The steps as they come, one by one, and what a crash after each would leave.
    let before = day(93);
    let (week, counts) = added_up(&store, before).await;
    let end_hash = week.end.hash.clone();
    store
        .write_bound(Rank::Vital, move |connection, vault| {
            audit_trail::count::write(connection, vault, &counts[..1], &end_hash)
        })
        .await
        .unwrap();
    survives(&folder, all).await;
    let lines = listed(&store).await;
    assert_eq!(lines.len() as u64, all, "half-written counts are not shown");
    drop(store);

    let store = open(&folder);
    let vault = vault(1);
    let (week, counts) = added_up(&store, before).await;
    while store
        .write(Rank::Vital, |connection| {
            audit_trail::count::remove_unfinished(connection)
        })
        .await
        .unwrap()
        > 0
    {}
    let (end_hash, bound) = (week.end.hash.clone(), vault.clone());
    store
        .write(Rank::Vital, move |connection| {
            audit_trail::count::write(connection, &bound, &counts, &end_hash)?;
            audit_trail::count::begin(connection, &bound, &week)
        })
        .await
        .unwrap();
    survives(&folder, all).await;
    let shown = listed(&store).await;
    assert_eq!(shown.len() as u64, all - 140 + 2, "nothing is shown twice");
    // A part of it is cleared.
    let head = store.trail_head().await.unwrap();
    store
        .write_bound(Rank::Vital, |connection, vault| {
            audit_trail::count::clear(connection, vault)
        })
        .await
        .unwrap();
    survives(&folder, all).await;
    assert_eq!(store.verify_audit(Some(head)).await.unwrap().problem, None);
    store.count_audit(before).await.unwrap();
    assert_eq!(whole(&store).await, all);
}

/// A crash at this moment leaves a trail that is whole, and that can be counted further.
async fn survives(folder: &TempDir, all: u64) {
    let crashed = crashed_copy(folder);
    let revived = open(&crashed);
    assert_eq!(whole(&revived).await, all);
    revived.count_audit(day(93)).await.unwrap();
    assert_eq!(whole(&revived).await, all);
    // The thirteen whole weeks of two agents, all cleared.
    assert_eq!(rows(&crashed, "audit_counts"), 26);
    assert_eq!(rows(&crashed, "audit"), i64::try_from(9 * A_DAY + 91).unwrap());
}

#[tokio::test]
async fn a_week_larger_than_a_step_is_cleared_in_steps() {
    let (folder, store) = fresh();
    for number in 0..20 {
        store.tick_trail(day(number), Some(up(number))).await.unwrap();
        for _ in 0..3 {
            let lines = vec![used(number, "bot", "alice"); 100];
            store.append_audit(lines).await.unwrap();
        }
    }
    assert_eq!(store.count_audit(day(13)).await.unwrap(), 2100);
    assert_eq!(whole(&store).await, 6000);
    assert_eq!((rows(&folder, "audit_counts"), rows(&folder, "audit")), (1, 3900));
    assert_eq!(store.count_audit(day(30)).await.unwrap(), 2100);
}

#[tokio::test]
async fn a_head_in_a_counted_week_is_found_where_its_line_stays() {
    let (_folder, store) = of_days(20).await;
    let lines = listed(&store).await;
    let point = |sequence: u64| ChainPoint {
        sequence,
        hash: lines[usize::try_from(sequence).unwrap() - 1].hash.clone(),
    };
    store.count_audit(day(13)).await.unwrap();
    let found = async |head: ChainPoint| {
        let problem = store.verify_audit(Some(head)).await.unwrap().problem;
        problem.map(|fault| fault.to_string())
    };
    for stays in [22, 147, 148, 20 * A_DAY] {
        assert_eq!(found(point(stays)).await, None, "{stays}");
    }
    assert_eq!(
        found(point(30)).await.unwrap(),
        "line 30 is counted by now and not kept any more: compare with a head from after line 147"
    );
    for other in [22, 147] {
        let head = ChainPoint {
            hash: "0".repeat(64),
            ..point(other)
        };
        assert!(found(head).await.unwrap().contains("is another one"), "{other}");
    }
}

#[tokio::test]
async fn a_head_that_is_told_is_found_when_its_week_is_counted() {
    let (_folder, store) = of_days(1).await;
    let routine = store.trail_head().await.unwrap();
    let head = store.lasting_head(day(0)).await.unwrap();
    assert_eq!(head.sequence, routine.sequence + 1);
    // What is last and stays needs no other line.
    assert_eq!(store.lasting_head(day(0)).await.unwrap(), head);
    assert_eq!(store.trail_head().await.unwrap(), head);
    for number in 1..20 {
        store.tick_trail(day(number), Some(up(number))).await.unwrap();
        store
            .append_audit(vec![used(number, "bot", "alice")])
            .await
            .unwrap();
    }
    assert!(store.count_audit(day(13)).await.unwrap() > head.sequence);
    let found = async |head: ChainPoint| {
        let problem = store.verify_audit(Some(head)).await.unwrap().problem;
        problem.map(|fault| fault.to_string())
    };
    assert_eq!(found(head).await, None);
    assert!(
        found(routine)
            .await
            .unwrap()
            .contains("is counted by now and not kept any more")
    );
}

#[tokio::test]
async fn an_empty_trail_is_given_no_line_for_its_head() {
    let (_folder, store) = fresh();
    assert_eq!(store.lasting_head(day(0)).await.unwrap().sequence, 0);
}

#[tokio::test]
async fn counted_weeks_are_pruned_as_wholes_and_the_rest_is_whole() {
    let (folder, store) = of_days(30).await;
    store.count_audit(day(20)).await.unwrap();
    assert_eq!(rows(&folder, "audit_weeks"), 2);
    assert_eq!(store.prune_audit(day(6)).await.unwrap(), 0);
    assert_eq!(store.prune_audit(day(10)).await.unwrap(), 7 + 2);
    assert_eq!(whole(&store).await, 23 * A_DAY);
    assert_eq!(listed(&store).await[0].sequence, 7 * A_DAY + 1);
    drop(store);
    let store = open(&folder);
    // The second week, and then the lines one by one again.
    store.prune_audit(day(16)).await.unwrap();
    assert_eq!(whole(&store).await, 14 * A_DAY);
    assert_eq!(rows(&folder, "audit_counts"), 0);
    // By size, weeks go as well.
    let (folder, store) = of_days(30).await;
    store.count_audit(day(20)).await.unwrap();
    store.bound_audit(4096).await.unwrap();
    assert_eq!(rows(&folder, "audit_weeks"), 0);
    assert_eq!(problem(&store).await, None);
}

#[tokio::test]
async fn a_wall_clock_that_is_wrong_by_years_ages_nothing() {
    let (folder, store) = of_days(20).await;
    let years = 100 * 365;
    // Nor does one that is wrong for good, at each start of the daemon and of the machine.
    let mut latest = day(0);
    for start in 0..50 {
        let boot = BootMoment {
            boot: BootId::from_bytes([start; 16]),
            uptime: Up::START.after(Duration::from_secs(60)),
        };
        latest = store.tick_trail(day(years), Some(boot)).await.unwrap();
        store.append_audit(vec![put(years)]).await.unwrap();
        latest = latest.max(store.tick_trail(day(years), None).await.unwrap());
    }
    assert_eq!(latest, day(19));
    for days in [1, 7, 365] {
        let before = clock::before(latest, Duration::from_secs(days * DAY));
        if days > 19 {
            assert_eq!(store.prune_audit(before).await.unwrap(), 0);
        }
    }
    assert_eq!(rows(&folder, "audit"), i64::try_from(20 * A_DAY + 50).unwrap());
    // A clock that was set back is as good.
    let boot = |days| {
        Some(BootMoment {
            boot: BootId::from_bytes([99; 16]),
            uptime: Up::START.after(Duration::from_secs(days * DAY)),
        })
    };
    store.tick_trail(day(0), boot(0)).await.unwrap();
    let later = store.tick_trail(day(0), boot(8)).await.unwrap();
    assert_eq!(later, day(26), "eight days passed, and it leans back by one");
}

#[tokio::test]
async fn the_trails_time_runs_with_the_uptime_and_catches_up_slowly() {
    let (folder, store) = fresh();
    assert_eq!(store.tick_trail(day(0), Some(up(0))).await.unwrap(), day(0));
    assert_eq!(store.tick_trail(day(8), Some(up(8))).await.unwrap(), day(8));
    // The machine was off for a hundred days.
    let boot = |days| {
        Some(BootMoment {
            boot: BootId::from_bytes([2; 16]),
            uptime: Up::START.after(Duration::from_secs(days * DAY)),
        })
    };
    assert_eq!(store.tick_trail(day(108), boot(0)).await.unwrap(), day(8));
    assert_eq!(store.tick_trail(day(116), boot(8)).await.unwrap(), day(17));
    // Who writes the database without the key cannot move it.
    raw(folder.path())
        .execute_batch("UPDATE audit_clock SET time = time + 1000000000000000")
        .unwrap();
    assert!(store.tick_trail(day(116), boot(8)).await.unwrap() <= day(116));
    raw(folder.path())
        .execute_batch("UPDATE audit_days SET time = 0")
        .unwrap();
    let error = store.prune_audit(day(50)).await.unwrap_err().to_string();
    assert!(error.contains("it was altered"), "{error}");
}

#[tokio::test]
async fn a_trail_from_before_it_had_a_time_is_counted_by_its_lines() {
    let (folder, store) = fresh();
    for number in 0..20 {
        store
            .append_audit(vec![used(number, "bot", "alice"); 10])
            .await
            .unwrap();
    }
    assert_eq!(store.count_audit(day(13)).await.unwrap(), 70);
    assert_eq!(whole(&store).await, 200);
    assert_eq!(store.tick_trail(day(100), Some(up(0))).await.unwrap(), day(19));
    // In a hundred days all of that is old, whatever its lines say.
    for number in 1..=40 {
        store
            .tick_trail(day(100 + number), Some(up(number)))
            .await
            .unwrap();
        store.append_audit(vec![put(100 + number)]).await.unwrap();
    }
    store.count_audit(day(40)).await.unwrap();
    assert_eq!(whole(&store).await, 240);
    assert_eq!(rows(&folder, "audit_counts"), 3);
    let end = store
        .read(|connection| audit_trail::ends::as_found(connection).map(|ends| ends.end.sequence))
        .await
        .unwrap();
    assert_eq!(end, 240);
}

fn free_pages(folder: &TempDir) -> i64 {
    let count = raw(folder.path());
    count
        .pragma_query_value(None, "freelist_count", |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn the_file_gives_back_what_was_counted_or_pruned() {
    let (folder, store) = fresh();
    for number in 0..20 {
        store.tick_trail(day(number), Some(up(number))).await.unwrap();
        let large = AuditEvent {
            detail: "x".repeat(1000),
            ..used(number, "bot", "alice")
        };
        store.append_audit(vec![large.clone(); 1000]).await.unwrap();
    }
    let before = store.facts().await.unwrap().bytes;
    store.count_audit(day(13)).await.unwrap();
    let counted = store.facts().await.unwrap().bytes;
    assert!(counted < before * 3 / 4, "{counted} of {before}");
    store.prune_audit(day(19)).await.unwrap();
    let pruned = store.facts().await.unwrap().bytes;
    assert!(pruned < before / 4, "{pruned} of {before}");
    assert_eq!(problem(&store).await, None);
    drop(store);
    let file = fs::metadata(folder.path().join(DATABASE)).unwrap().len();
    assert_eq!(file, pruned);
    assert!(free_pages(&folder) <= 256, "{}", free_pages(&folder));
}

#[tokio::test]
async fn a_database_of_before_is_written_anew_once_and_then_gives_back() {
    let (folder, store) = of_days(20).await;
    let all = whole(&store).await;
    drop(store);
    // As versions of before made it, with room that nothing is in.
    let old = raw(folder.path());
    old.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM; \
         CREATE TABLE large (content BLOB); INSERT INTO large VALUES (zeroblob(4000000)); DROP TABLE large",
    )
    .unwrap();
    drop(old);
    let bytes = database_bytes(&folder).len();
    let store = open(&folder);
    assert_eq!(whole(&store).await, all);
    let mode: i64 = raw(folder.path())
        .pragma_query_value(None, "auto_vacuum", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, 2);
    store.append_audit(vec![put(20)]).await.unwrap();
    drop(store);
    assert!(database_bytes(&folder).len() + 3_900_000 < bytes);
    assert_eq!(whole(&open(&folder)).await, all + 1);
    // Nothing is left lying about.
    let names = fs::read_dir(folder.path()).unwrap();
    let copies = names.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".copy")
    });
    assert_eq!(copies.count(), 0);
}
