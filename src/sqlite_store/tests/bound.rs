//! Somebody writes the database who has not the master key.

use std::collections::BTreeSet;

use rusqlite::types::Value;

use crate::{
    cause::GrantCause,
    id::AgentName,
    sqlite_store::tests::*,
    store::{AgentRecord, Contents, HolderRecord, StoreError},
};

/// Two of everything, different in every column.
async fn two_of_everything() -> (TempDir, SqliteStore) {
    let (folder, store) = fresh();
    // Versions of their own: the second account is connected a second time.
    let mut robot = IntegrationRecord {
        provider: "google-sa".parse().unwrap(),
        owner: "bob".parse().unwrap(),
        account: "robot@example.com".to_owned(),
        former: ["machine@example.com".to_owned()].into(),
        issuer_binding: "https://oauth2.example.com/token".into(),
        scopes: scopes("c"),
        connected_at: at(60),
        grant_expires_at: None,
        declined: ["google.drive".parse().unwrap()].into(),
        secret: vault(1).seal(&Binding::ServiceAccountKey(&id(2)), b"key"),
        ..account(2)
    };
    let first = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    let before = store
        .put_integration(robot.clone(), None, Vec::new())
        .await
        .unwrap();
    robot.connected_at = at(120);
    let second = store
        .put_integration(robot, Some(before), Vec::new())
        .await
        .unwrap();
    assert_ne!(first, second);
    let narrower = TokenRecord {
        granted: scopes("c"),
        ..token(2, "c d", 30)
    };
    let outcome = renewed(token(1, "a b", 0));
    store.finish_renewal(&id(1), first, outcome).await.unwrap();
    let broken = RenewalOutcome {
        health: Health::Misconfigured(Box::new(GrantCause::Written("the key was deleted".to_owned()))),
        ..renewed(narrower)
    };
    store.finish_renewal(&id(2), second, broken).await.unwrap();
    for (number, owner) in [(3, "alice"), (4, "bob")] {
        let gone = IntegrationRecord {
            owner: owner.parse().unwrap(),
            account: format!("{owner}@example.com"),
            issuer_binding: format!("https://oauth2.example.com/token#{owner}").into(),
            ..account(number)
        };
        store.put_integration(gone, None, Vec::new()).await.unwrap();
        store
            .enqueue_revocation(&id(number), at(u64::from(number)), Vec::new())
            .await
            .unwrap();
    }
    for name in ["one", "two"] {
        let manifest = format!(r#"{{"agent":"{name}"}}"#);
        let name: AgentName = name.parse().unwrap();
        store
            .put_agent(
                AgentRecord {
                    name: name.clone(),
                    manifest,
                },
                Vec::new(),
            )
            .await
            .unwrap();
        let holder = format!(r#"{{"owner":"{name}"}}"#);
        let secret = vault(1).seal(&secret_of(&name, Some(&holder)), name.as_str().as_bytes());
        let record = HolderRecord {
            agent: name,
            holder: Some(holder),
            secret: Some(secret),
        };
        store.change_holders(vec![record], Vec::new()).await.unwrap();
    }
    (folder, store)
}

fn secret_of<'a>(agent: &'a AgentName, holder: Option<&'a str>) -> Binding<'a> {
    Binding::AgentSecret { agent, holder }
}

/// All that a start would go by, one line for each row. A secret that does not open is none.
fn told(contents: &Contents) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for record in &contents.integrations {
        let IntegrationRecord {
            id,
            provider,
            owner,
            subject,
            account,
            former,
            issuer_binding,
            scopes,
            declined,
            health,
            version,
            connected_at,
            renewed_at,
            grant_expires_at,
            renewal,
            secret,
            proof_key,
        } = record;
        let fields = (
            id,
            provider,
            owner,
            subject,
            account,
            former,
            issuer_binding,
            scopes,
            declined,
        );
        if secret.as_bytes().is_empty() {
            // Its agents are told why they have no token; nothing can be done with it.
            assert!(matches!(health, Health::Misconfigured(_)));
            continue;
        }
        let rest = (
            health,
            version,
            connected_at,
            renewed_at,
            grant_expires_at,
            renewal,
        );
        let proof_key = proof_key.as_ref().map(Sealed::as_bytes);
        told.insert(format!(
            "{fields:?} {rest:?} {:?} {proof_key:?}",
            secret.as_bytes()
        ));
    }
    for token in &contents.tokens {
        let fields = (
            &token.integration,
            &token.requested,
            &token.granted,
            token.issued_at,
            token.expires_at,
        );
        told.insert(format!("{fields:?} {:?}", token.secret.as_bytes()));
    }
    for owed in &contents.revocations {
        let fields = (
            &owed.id,
            &owed.owner,
            &owed.subject,
            &owed.account,
            &owed.issuer_binding,
            owed.since,
        );
        told.insert(format!("{fields:?} {:?}", owed.secret.as_bytes()));
    }
    for agent in &contents.agents {
        told.insert(format!("{agent:?}"));
    }
    for HolderRecord {
        agent,
        holder,
        secret,
    } in &contents.holders
    {
        let Some(secret) = secret else {
            // Nobody knows who held it.
            assert_eq!(holder.as_deref(), Some(""));
            continue;
        };
        assert!(
            vault(1)
                .open(&secret_of(agent, holder.as_deref()), secret)
                .is_ok()
        );
        told.insert(format!("{agent:?} {holder:?} {:?}", secret.as_bytes()));
    }
    told
}

/// Two rows of a table, by what tells them apart.
struct Pair {
    table: &'static str,
    key: &'static str,
    rows: [Value; 2],
}

fn pairs() -> Vec<Pair> {
    let pair = |table, key, [a, b]: [Value; 2]| Pair {
        table,
        key,
        rows: [a, b],
    };
    let texts = |a: &str, b: &str| [Value::from(a.to_owned()), Value::from(b.to_owned())];
    let ids = |a, b| texts(id(a).as_str(), id(b).as_str());
    let places = |row: i64| [Value::from((1 << 16) + row), Value::from((2 << 16) + row)];
    vec![
        pair("integrations", "id", ids(1, 2)),
        pair("secrets", "place", places(0)),
        pair("secrets", "place", places(1)),
        pair("revocations", "id", ids(3, 4)),
        pair("agents", "name", texts("one", "two")),
        pair("holders", "agent", texts("one", "two")),
    ]
}

fn columns(database: &Connection, table: &str) -> Vec<String> {
    let mut statement = database.prepare("SELECT name FROM pragma_table_info(?)").unwrap();
    let names = statement.query_map([table], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

/// What two rows say in one column changes place. False where both say the same.
fn swap(database: &Connection, pair: &Pair, column: usize, columns: &[String]) -> bool {
    let Pair { table, key, rows } = pair;
    let read = |which: &Value| -> Vec<Value> {
        let select = format!("SELECT {} FROM {table} WHERE {key} = ?", columns.join(", "));
        database
            .query_row(&select, [which], |row| {
                (0..columns.len()).map(|place| row.get(place)).collect()
            })
            .unwrap()
    };
    let (mut one, mut other) = (read(&rows[0]), read(&rows[1]));
    if one[column] == other[column] {
        return false;
    }
    std::mem::swap(&mut one[column], &mut other[column]);
    for row in rows {
        let delete = format!("DELETE FROM {table} WHERE {key} = ?");
        assert_eq!(database.execute(&delete, [row]).unwrap(), 1);
    }
    let marks = vec!["?"; columns.len()].join(", ");
    let insert = format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", "));
    for row in [one, other] {
        database
            .execute(&insert, rusqlite::params_from_iter(row))
            .unwrap();
    }
    true
}

/// Tries every column of every table: `change` gets the folder of an open store and what to do to its database.
async fn swapped_everywhere(
    expect: impl AsyncFn(TempDir, SqliteStore, &dyn Fn(&Connection) -> bool) -> Option<Contents>,
) {
    let mut tried = 0;
    for pair in pairs() {
        let columns = {
            let (folder, _store) = fresh();
            columns(&raw(folder.path()), pair.table)
        };
        for place in 0..columns.len() {
            let (folder, store) = two_of_everything().await;
            let before = told(&store.load().await.unwrap());
            let change = |database: &Connection| {
                database.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
                swap(database, &pair, place, &columns)
            };
            let what = format!("{}.{}", pair.table, columns[place]);
            let Some(contents) = expect(folder, store, &change).await else {
                continue;
            };
            tried += 1;
            let after = told(&contents);
            let foreign: Vec<_> = after.difference(&before).collect();
            assert!(foreign.is_empty(), "{what}: {foreign:?}");
            assert!(
                before.len() >= after.len() + 2,
                "{what}: {} of {}",
                after.len(),
                before.len()
            );
            // What belongs to neither of the two rows is as it was.
            assert!(after.len() + 4 >= before.len(), "{what}");
        }
    }
    assert!(tried > 35, "{tried} columns");
}

#[tokio::test]
async fn a_column_that_was_swapped_while_no_daemon_ran_gives_nobody_anything() {
    swapped_everywhere(async |folder, store, change| {
        drop(store);
        change(&raw(folder.path())).then_some(())?;
        Some(open(&folder).load().await.unwrap())
    })
    .await;
}

#[tokio::test]
async fn a_column_that_was_swapped_under_a_running_daemon_gives_nobody_anything() {
    swapped_everywhere(async |folder, store, change| {
        change(&raw(folder.path())).then_some(())?;
        Some(store.load().await.unwrap())
    })
    .await;
}

#[tokio::test]
async fn a_record_that_somebody_else_wrote_is_named_with_what_to_do() {
    let (folder, store) = two_of_everything().await;
    raw(folder.path())
        .execute_batch(
            "UPDATE integrations SET owner = 'mallory' WHERE account = 'alice@example.com'; \
             UPDATE revocations SET owner = 'mallory' WHERE owner = 'bob'; \
             UPDATE agents SET manifest = '{}' WHERE name = 'one'; \
             UPDATE secrets SET expires_at = expires_at + 1 WHERE place = (2 << 16) + 1",
        )
        .unwrap();
    let unusable = store.load().await.unwrap().unusable;
    let said: Vec<_> = unusable
        .iter()
        .map(|record| (record.name.as_str(), record.problem.to_string()))
        .collect();
    let altered = "in the database is not used: it was altered, or moved there from another record";
    let (first, second, fourth) = (id(1), id(2), id(4));
    assert_eq!(
        said,
        [
            (
                first.as_str(),
                format!(
                    "the record {first} (alice@example.com of mallory, as it says) {altered}; connect that account again, \
                     and remove this record with `token-broker integrations disconnect {first}`"
                )
            ),
            (
                second.as_str(),
                format!("the record access token of {second} {altered}; a new one is obtained")
            ),
            (
                "one",
                format!(
                    "the record agent one {altered}; put the agent again, or remove the record with \
                     `token-broker agents remove one`"
                )
            ),
            (
                fourth.as_str(),
                format!(
                    "the record revocation of {fourth} (bob@example.com of mallory, as it says) {altered}; the owner can \
                     remove the grant at the provider; `token-broker integrations disconnect \
                     {fourth}` removes the record"
                )
            ),
        ]
    );
}

#[tokio::test]
async fn what_somebody_else_wrote_is_not_bound_by_a_later_write() {
    let altered = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Altered { .. })));
    for change in [
        "UPDATE secrets SET expires_at = expires_at + 1 WHERE place & 65535 = 0",
        "UPDATE integrations SET owner = 'mallory'",
    ] {
        let (folder, store) = fresh();
        let version = store.put_integration(account(1), None, Vec::new()).await.unwrap();
        raw(folder.path()).execute_batch(change).unwrap();
        if change.contains("secrets") {
            altered(store.begin_renewal(&id(1), at(1)).await.map(drop));
            let outcome = renewed(token(1, "a", 1));
            altered(store.finish_renewal(&id(1), version, outcome).await.map(drop));
        } else {
            altered(store.set_declined(&id(1), Arc::default()).await.map(drop));
        }
        altered(
            store
                .enqueue_revocation(&id(1), at(1), Vec::new())
                .await
                .map(drop),
        );
        altered(store.integration(&id(1)).await.map(drop));
        let contents = store.load().await.unwrap();
        assert_eq!((told(&contents).len(), contents.unusable.len()), (0, 1));
        assert!(contents.tokens.is_empty() && contents.revocations.is_empty());
        assert!(
            store.delete_integration(&id(1), Vec::new()).await.unwrap(),
            "it can be removed"
        );
    }
}

#[tokio::test]
async fn a_part_of_an_earlier_connection_does_not_go_with_a_later_one() {
    let (folder, store) = fresh();
    let first = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    store
        .finish_renewal(&id(1), first, renewed(token(1, "a", 1)))
        .await
        .unwrap();
    let before = crashed_copy(&folder);
    store
        .put_integration(account(1), Some(first), Vec::new())
        .await
        .unwrap();
    store.close().await;
    let attach = format!("ATTACH '{}' AS old", before.path().join(DATABASE).display());
    for (change, left) in [
        (
            "INSERT OR REPLACE INTO secrets SELECT * FROM old.secrets WHERE requested IS NULL",
            0,
        ),
        (
            "INSERT OR REPLACE INTO integrations SELECT * FROM old.integrations",
            0,
        ),
        (
            "INSERT OR REPLACE INTO secrets SELECT * FROM old.secrets WHERE requested IS NOT NULL",
            1,
        ),
    ] {
        let copy = crashed_copy(&folder);
        let database = raw(copy.path());
        database
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; {attach}; {change}"))
            .unwrap();
        drop(database);
        let contents = open(&copy).load().await.unwrap();
        assert_eq!(told(&contents).len(), left, "{change}");
        assert_eq!(contents.unusable.len(), 1, "{change}");
    }
}

#[tokio::test]
async fn a_grant_whose_key_was_taken_away_or_given_is_not_used() {
    for change in [
        "UPDATE secrets SET proof_key = NULL WHERE place = 1 << 16",
        "UPDATE secrets SET proof_key = secret WHERE place = 1 << 16",
        "UPDATE secrets SET proof_key = (SELECT proof_key FROM secrets WHERE place = 2 << 16) WHERE place = 1 << 16",
    ] {
        let (folder, store) = two_of_everything().await;
        raw(folder.path()).execute_batch(change).unwrap();
        let begun = store.begin_renewal(&id(1), at(1)).await;
        assert!(matches!(begun, Err(StoreError::Altered { .. })), "{change}");
        let contents = store.load().await.unwrap();
        let account = contents
            .integrations
            .iter()
            .find(|account| account.id == id(1))
            .unwrap();
        assert!(matches!(account.health, Health::Misconfigured(_)), "{change}");
        assert!(account.proof_key.is_none(), "{change}");
    }
}

/// A database as version 0.1 left it, before rows were bound to the master key.
fn of_before() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let old = raw(folder.path());
    for migration in &schema::MIGRATIONS[..6] {
        old.execute_batch(migration).unwrap();
    }
    old.execute_batch(include_str!("before_binding.sql")).unwrap();
    old.pragma_update(None, "application_id", 0x746b_6272).unwrap();
    old.pragma_update(None, "user_version", 6).unwrap();
    folder
}

#[tokio::test]
async fn the_rows_of_before_are_taken_over() {
    let folder = of_before();
    let first = {
        let store = open(&folder);
        assert_eq!(grant(&store, 3).await, "grant");
        store.load().await.unwrap()
    };
    assert_eq!(first.unusable, []);
    assert_eq!(first.integrations.len(), 4);
    assert_eq!(first.tokens.len(), 4);
    assert_eq!(first.revocations.len(), 1);
    assert_eq!(first.agents.len(), 1);
    let opens = |binding: &Binding<'_>, secret: &Sealed, text: &[u8]| {
        assert_eq!(**vault(1).open(binding, secret).unwrap(), *text);
    };
    for token in &first.tokens {
        let binding = Binding::AccessToken {
            integration: &token.integration,
            requested: &token.requested,
        };
        opens(&binding, &token.secret, b"token");
    }
    opens(
        &Binding::RefreshToken(&first.revocations[0].id),
        &first.revocations[0].secret,
        b"grant",
    );
    opens(
        &Binding::ServiceAccountKey(&id(4)),
        &first.integrations[3].secret,
        b"key",
    );
    let sentence = GrantCause::Written("the key was deleted".to_owned());
    assert_eq!(
        first.integrations[3].health,
        Health::Misconfigured(Box::new(sentence))
    );
    let HolderRecord {
        agent,
        holder,
        secret,
    } = &first.holders[0];
    assert_eq!(*holder, None, "nobody wrote it down");
    opens(&secret_of(agent, None), secret.as_ref().unwrap(), b"agent");

    let store = open(&folder);
    let second = store.load().await.unwrap();
    assert_eq!(told(&second), told(&first), "once");
    // It goes on as any other.
    let version = store.begin_renewal(&id(1), at(1)).await.unwrap().unwrap().version;
    let outcome = renewed(token(1, "a", 1));
    store.finish_renewal(&id(1), version, outcome).await.unwrap();
    assert_eq!(store.load().await.unwrap().unusable, []);
}

#[tokio::test]
async fn nothing_is_taken_over_twice() {
    let attack = "UPDATE integrations SET owner = 'mallory', mac = NULL WHERE number = 1; \
                  UPDATE agents SET manifest = '{}', mac = NULL";
    let old_key_check = "INSERT OR REPLACE INTO master_keys SELECT * FROM old.master_keys";
    let old_secret = "UPDATE secrets SET mac = NULL, secret = (SELECT secret FROM old.secrets AS before \
                      WHERE before.place = secrets.place) WHERE place = 65536";
    let old = of_before();
    let attach = format!("ATTACH '{}' AS old", old.path().join(DATABASE).display());
    for more in [
        String::new(),
        "DELETE FROM master_keys".to_owned(),
        format!("{attach}; {old_key_check}"),
        format!("{attach}; {old_key_check}; {old_secret}"),
        format!("{attach}; {old_secret}"),
    ] {
        let folder = of_before();
        drop(open(&folder));
        let database = raw(folder.path());
        database.execute_batch(&format!("{attack}; {more}")).unwrap();
        drop(database);
        for start in ["first", "second"] {
            let contents = open(&folder).load().await.unwrap();
            let usable = contents
                .integrations
                .iter()
                .filter(|account| account.health == Health::Active);
            assert_eq!(usable.count(), 2, "{start} start after {more}");
            assert!(
                contents
                    .integrations
                    .iter()
                    .all(|account| account.owner.as_str() == "alice")
            );
            assert!(contents.agents.is_empty(), "{more}");
            assert!(contents.unusable.len() >= 2, "{more}");
        }
    }
}

#[tokio::test]
async fn a_database_of_before_without_a_key_check_is_not_believed() {
    let folder = of_before();
    raw(folder.path())
        .execute_batch("DELETE FROM master_keys")
        .unwrap();
    let contents = open(&folder).load().await.unwrap();
    assert!(told(&contents).is_empty());
    assert_eq!(contents.unusable.len(), 4 + 4 + 1 + 1 + 1);
}

#[tokio::test]
async fn rows_that_are_bound_to_a_previous_key_are_used() {
    let (folder, store) = two_of_everything().await;
    let before = told(&store.load().await.unwrap());
    drop(store);
    let both = Arc::new(Vault::new(
        Keyring::new(Key::new([2; 32]), vec![Key::new([1; 32])]),
        Arc::new(SystemEntropy),
    ));
    let store = SqliteStore::open(folder.path(), &both).unwrap();
    assert_eq!(told(&store.load().await.unwrap()), before);
    let version = now(&store, 1).await.version;
    let outcome = renewed(token(1, "a b", 9));
    store.finish_renewal(&id(1), version, outcome).await.unwrap();
    assert_eq!(store.load().await.unwrap().unusable, []);
}

#[tokio::test]
async fn an_account_whose_grant_alone_was_altered_says_so_to_its_owner() {
    let (folder, store) = two_of_everything().await;
    let moved = "UPDATE secrets SET secret = (SELECT secret FROM secrets WHERE place = 2 << 16) WHERE place = 1 << 16";
    raw(folder.path()).execute_batch(moved).unwrap();
    let contents = store.load().await.unwrap();
    let first = &contents.integrations[0];
    assert_eq!(
        (first.owner.as_str(), first.account.as_str()),
        ("alice", "alice@example.com")
    );
    let altered = GrantCause::Altered {
        account: "alice@example.com".to_owned(),
    };
    assert_eq!(first.health, Health::Misconfigured(Box::new(altered)));
    assert_eq!(contents.unusable.len(), 1);
    assert_eq!(contents.unusable[0].name, id(1).to_string());
}
