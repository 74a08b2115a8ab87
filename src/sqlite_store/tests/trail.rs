//! The audit trail as people read it.

use rusqlite::params_from_iter;

use crate::{
    audit_trail::{self, page::MOST_LOOKED_AT},
    id::OwnerId,
    sql::Value,
    sqlite_store::tests::*,
    store::{RenewalHour, TrailFilter, TrailPage, TrailPlace},
    telemetry::audit::{Actor, AuditEvent, Concern, Decision},
};

fn owner(name: &str) -> OwnerId {
    name.parse().unwrap()
}

/// A line about nobody in particular.
fn line(seconds: u64, actor: Actor, action: &'static str) -> AuditEvent {
    AuditEvent {
        time: at(seconds),
        actor,
        action,
        integration: None,
        capabilities: Vec::new(),
        decision: Decision::Allowed,
        detail: String::new(),
        concern: Concern::default(),
    }
}

fn of_owner(name: &str) -> TrailFilter {
    TrailFilter {
        owner: Some(owner(name)),
        ..TrailFilter::default()
    }
}

async fn page(store: &SqliteStore, filter: TrailFilter, place: TrailPlace, limit: u32) -> TrailPage {
    store.trail(filter, place, limit).await.unwrap()
}

fn sequences(page: &TrailPage) -> Vec<u64> {
    page.lines.iter().map(|line| line.sequence).collect()
}

async fn fitting(store: &SqliteStore, filter: TrailFilter) -> Vec<u64> {
    sequences(&page(store, filter, TrailPlace::Newest, 100).await)
}

/// Two owners, each with an account, and an agent's name that was first one's and then the other's.
async fn of_two_owners() -> (TempDir, SqliteStore) {
    let (folder, store) = fresh();
    let (alice, bob) = (owner("alice"), owner("bob"));
    let bot = "bot".parse().unwrap();
    let of = |event: AuditEvent, owner: &OwnerId, account: Option<u32>| AuditEvent {
        integration: account.map(id),
        capabilities: vec![
            "google.gmail.send".parse().unwrap(),
            "google.calendar".parse().unwrap(),
        ],
        concern: Concern::owner(owner),
        ..event
    };
    let of_bot = |owner: &OwnerId| AuditEvent {
        concern: Concern::agent(owner, &bot),
        ..line(3, Actor::Agent("bot".into()), "token.denied")
    };
    let events = vec![
        of(
            line(1, Actor::Person("alice".into()), "integration.connected"),
            &alice,
            Some(1),
        ),
        of(line(2, Actor::Admin(0), "integration.connected"), &bob, Some(2)),
        of_bot(&alice),
        AuditEvent {
            concern: Concern::agent(&alice, &bot),
            ..line(4, Actor::Daemon, "agent.removed")
        },
        of_bot(&bob),
        line(6, Actor::Daemon, "agent.refused"),
        of(line(7, Actor::Daemon, "token.renewed"), &alice, Some(1)),
        of(
            line(8, Actor::Admin(0), "integration.disconnected"),
            &alice,
            Some(1),
        ),
    ];
    store.append_audit(events).await.unwrap();
    (folder, store)
}

#[tokio::test]
async fn an_owner_sees_what_concerned_them_and_nothing_else() {
    let (_folder, store) = of_two_owners().await;
    assert_eq!(fitting(&store, of_owner("alice")).await, [8, 7, 4, 3, 1]);
    assert_eq!(fitting(&store, of_owner("bob")).await, [5, 2]);
    assert_eq!(fitting(&store, of_owner("alic")).await, [0; 0]);
    assert_eq!(fitting(&store, of_owner("%")).await, [0; 0]);
    assert_eq!(
        fitting(&store, TrailFilter::default()).await,
        [8, 7, 6, 5, 4, 3, 2, 1]
    );
}

#[tokio::test]
async fn no_other_filter_opens_what_is_another_owners() {
    let (_folder, store) = of_two_owners().await;
    let bot = TrailFilter {
        agent: Some("bot".parse().unwrap()),
        ..of_owner("bob")
    };
    assert_eq!(fitting(&store, bot).await, [5], "the name was alice's before");
    let account = TrailFilter {
        integrations: vec![id(1), id(2)],
        ..of_owner("bob")
    };
    assert_eq!(fitting(&store, account).await, [2]);
    let actor = TrailFilter {
        actor: Some("person:alice".into()),
        ..of_owner("bob")
    };
    assert_eq!(fitting(&store, actor).await, [0; 0]);
}

#[tokio::test]
async fn filters_hold_together() {
    let (_folder, store) = of_two_owners().await;
    let every = TrailFilter::default;
    let agent = TrailFilter {
        agent: Some("bot".parse().unwrap()),
        ..every()
    };
    assert_eq!(fitting(&store, agent).await, [5, 4, 3]);
    let one = TrailFilter {
        integrations: vec![id(1)],
        ..every()
    };
    assert_eq!(fitting(&store, one.clone()).await, [8, 7, 1]);
    let two = TrailFilter {
        integrations: vec![id(1), id(2)],
        ..every()
    };
    assert_eq!(fitting(&store, two).await, [8, 7, 2, 1]);
    let by_person = TrailFilter {
        actor: Some("person:alice".into()),
        ..one
    };
    assert_eq!(fitting(&store, by_person).await, [1]);
    for (key, lines) in [
        ("google.gmail.send", 4),
        ("google.calendar", 4),
        ("google.gmail", 0),
        ("gmail.send", 0),
    ] {
        let capability = TrailFilter {
            capability: Some(key.parse().unwrap()),
            ..every()
        };
        assert_eq!(fitting(&store, capability).await.len(), lines, "{key}");
    }
}

#[tokio::test]
async fn pages_lead_to_the_past_and_back() {
    let (_folder, store) = fresh();
    let lines = (1..=7).map(|second| line(second, Actor::Daemon, "agent.put"));
    store.append_audit(lines.collect()).await.unwrap();
    let every = TrailFilter::default;
    let first = page(&store, every(), TrailPlace::Newest, 3).await;
    assert_eq!(sequences(&first), [7, 6, 5]);
    assert_eq!(
        (first.older, first.newer, first.cut_short),
        (Some(5), None, false)
    );
    let second = page(&store, every(), TrailPlace::Before(5), 3).await;
    assert_eq!(sequences(&second), [4, 3, 2]);
    assert_eq!((second.older, second.newer), (Some(2), Some(4)));
    let third = page(&store, every(), TrailPlace::Before(2), 3).await;
    assert_eq!(sequences(&third), [1]);
    assert_eq!((third.older, third.newer), (None, Some(1)));
    let back = page(&store, every(), TrailPlace::After(1), 3).await;
    assert_eq!(sequences(&back), [4, 3, 2]);
    assert_eq!((back.older, back.newer), (Some(2), Some(4)));
    let end = page(&store, every(), TrailPlace::After(4), 3).await;
    assert_eq!((sequences(&end), end.newer), (vec![7, 6, 5], None));
}

#[tokio::test]
async fn pages_end_where_the_trail_was_pruned_and_stand_any_number() {
    let (_folder, store) = fresh();
    let lines = (1..=6).map(|second| line(second, Actor::Daemon, "agent.put"));
    store.append_audit(lines.collect()).await.unwrap();
    store.prune_audit(at(4)).await.unwrap();
    let every = TrailFilter::default;
    let whole = page(&store, every(), TrailPlace::Newest, 3).await;
    assert_eq!((sequences(&whole), whole.older), (vec![6, 5, 4], None));
    for place in [
        TrailPlace::Before(0),
        TrailPlace::Before(2),
        TrailPlace::After(u64::MAX),
    ] {
        let nothing = page(&store, every(), place, 3).await;
        assert_eq!(
            (sequences(&nothing), nothing.cut_short),
            (vec![], false),
            "{place:?}"
        );
    }
    let all = page(&store, every(), TrailPlace::Before(u64::MAX), 9).await;
    assert_eq!(sequences(&all), [6, 5, 4]);
    let (_folder, empty) = fresh();
    assert_eq!(
        page(&empty, every(), TrailPlace::Newest, 3).await,
        TrailPage::default()
    );
}

#[tokio::test]
async fn looking_for_few_among_many_lines_is_cut_short_and_goes_on() {
    let (folder, store) = fresh();
    let first = AuditEvent {
        concern: Concern::owner(&owner("alice")),
        ..line(0, Actor::Daemon, "token.renewed")
    };
    store.append_audit(vec![first]).await.unwrap();
    // The chain is no concern of a page, only its length.
    let last = crate::sql::column::integer(MOST_LOOKED_AT + 10);
    let database = raw(folder.path());
    database
        .execute(
            "WITH RECURSIVE more(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM more WHERE n < ?1) \
             INSERT INTO audit SELECT n, time, actor, action, integration, capabilities, decision, detail, hash, \
             'bob', '', NULL FROM more, audit WHERE sequence = 1",
            [last],
        )
        .unwrap();
    database
        .execute("UPDATE audit_ends SET end_sequence = ?1", [last])
        .unwrap();
    let newest = page(&store, of_owner("alice"), TrailPlace::Newest, 5).await;
    assert_eq!((sequences(&newest), newest.cut_short), (vec![], true));
    let older = TrailPlace::Before(newest.older.unwrap());
    let found = page(&store, of_owner("alice"), older, 5).await;
    assert_eq!(
        (sequences(&found), found.older, found.cut_short),
        (vec![1], None, false)
    );
    let newer = page(&store, of_owner("alice"), TrailPlace::After(1), 5).await;
    assert_eq!(
        (newer.newer, newer.cut_short),
        (Some(1 + MOST_LOOKED_AT), true),
        "the same towards the present"
    );
}

#[tokio::test]
async fn renewals_are_counted_by_the_hour_and_by_owner() {
    let (_folder, store) = fresh();
    let renewal = |seconds, action, name: &str| AuditEvent {
        concern: Concern::owner(&owner(name)),
        ..line(seconds, Actor::Daemon, action)
    };
    let events = vec![
        renewal(0, "token.renewed", "alice"),
        renewal(3599, "token.renewed", "bob"),
        renewal(3600, "token.renewal_failed", "alice"),
        // The clock was set back.
        renewal(10, "token.renewed", "alice"),
        renewal(3601, "token.used", "alice"),
        renewal(7200, "token.renewed", "alice"),
    ];
    store.append_audit(events).await.unwrap();
    let hours = async |name: Option<&str>| {
        let owner = name.map(owner);
        store.renewals(owner.as_ref(), at(0), 2).await.unwrap()
    };
    let hour = |begin, renewed, failed| RenewalHour {
        from: at(begin),
        renewed,
        failed,
    };
    assert_eq!(hours(None).await, [hour(0, 3, 0), hour(3600, 0, 1)]);
    assert_eq!(hours(Some("alice")).await, [hour(0, 2, 0), hour(3600, 0, 1)]);
    assert_eq!(hours(Some("carol")).await, [hour(0, 0, 0), hour(3600, 0, 0)]);
}

/// What `SQLite` says about how it answers a query.
fn plan(folder: &TempDir, sql: &str, values: &[Value<'_>]) -> String {
    let database = raw(folder.path());
    let mut statement = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3));
    steps.unwrap().map(Result::unwrap).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn pages_follow_the_primary_key_and_the_picture_its_index() {
    let (folder, _store) = of_two_owners().await;
    let filter = TrailFilter {
        agent: Some("bot".parse().unwrap()),
        integrations: vec![id(1), id(2)],
        capability: Some("google.calendar".parse().unwrap()),
        actor: Some("daemon".into()),
        ..of_owner("alice")
    };
    let filter = audit_trail::page::Filter::of(&filter);
    for towards_the_past in [true, false] {
        let shown = audit_trail::shown::source(&raw(folder.path())).ok().unwrap();
        let (sql, values) = audit_trail::page::statement(&shown, &filter, (1, 8), 50, towards_the_past);
        let plan = plan(&folder, &sql, &values);
        for table in ["audit", "audit_counts"] {
            let search = format!("SEARCH {table} USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)");
            assert!(plan.contains(&search), "{plan}");
        }
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
    let values = [0_i64.into(), 1_i64.into(), "alice".into()];
    let picture = plan(&folder, audit_trail::page::RENEWALS, &values);
    assert!(
        picture.starts_with("SEARCH audit USING COVERING INDEX audit_renewals (time>? AND time<?)"),
        "{picture}"
    );
}

#[tokio::test]
async fn an_older_trail_says_whom_its_lines_concern_as_far_as_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let old = raw(folder.path());
    for migration in &schema::MIGRATIONS[..5] {
        old.execute_batch(migration).unwrap();
    }
    old.execute_batch(
        "PRAGMA application_id = 0x746b6272; PRAGMA user_version = 5; \
         INSERT INTO integrations VALUES (1, 'int_a', 'google', 'alice', 's', 'a', 'x', '', 0, ''); \
         INSERT INTO audit VALUES (1, 0, 'daemon', 'token.renewed', 'int_a', '', 'allowed', '', ''), \
         (2, 0, 'agent:bot', 'token.used', 'int_a', '', 'allowed', '', ''), \
         (3, 0, 'agent:bot', 'token.denied', '', '', 'denied', 'of alice', ''), \
         (4, 0, 'person:bob', 'integration.connected', '', '', 'denied', '', ''), \
         (5, 0, 'daemon', 'token.renewed', 'int_gone', '', 'allowed', '', ''); \
         INSERT INTO audit_bounds VALUES ('end', 5, '');",
    )
    .unwrap();
    assert!(key_check::note(&old, &vault(1)).is_ok());
    drop(old);
    let store = open(&folder);
    assert_eq!(fitting(&store, of_owner("alice")).await, [2, 1]);
    assert_eq!(fitting(&store, of_owner("bob")).await, [4]);
    let bot = TrailFilter {
        agent: Some("bot".parse().unwrap()),
        ..TrailFilter::default()
    };
    assert_eq!(fitting(&store, bot).await, [3, 2]);
}

#[tokio::test]
async fn the_database_says_what_it_is() {
    let (_folder, store) = of_two_owners().await;
    let facts = store.facts().await.unwrap();
    assert!(facts.engine.starts_with("SQLite 3."), "{}", facts.engine);
    assert!(facts.bytes >= 4096, "{}", facts.bytes);
}
