//! Databases and rows that are not as this program left them.

use crate::{sqlite_store::tests::*, store::StoreError, vault::VaultError};

#[test]
fn what_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let junk = b"Dear diary, today I wrote quite a long text that is surely not a database. ".repeat(20);
    fs::write(folder.path().join(DATABASE), &junk).unwrap();
    let error = refusal(&folder, &vault(1)).to_string();
    assert!(error.contains("broker.db: this is not a database"), "{error}");
    assert_eq!(database_bytes(&folder), junk);
}

#[test]
fn another_programs_database_is_left_alone() {
    for setup in ["CREATE TABLE theirs (x)", "PRAGMA application_id = 7"] {
        let folder = tempfile::tempdir().unwrap();
        raw(folder.path()).execute_batch(setup).unwrap();
        let before = database_bytes(&folder);
        let error = refusal(&folder, &vault(1)).to_string();
        assert!(error.contains("belongs to another program"), "{error}");
        assert_eq!(database_bytes(&folder), before);
    }
}

#[tokio::test]
async fn a_damaged_database_is_left_alone() {
    let (folder, store) = fresh();
    for number in 0..100 {
        store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
    }
    drop(store);
    let good = database_bytes(&folder);
    for table in ["integrations", "secrets"] {
        // The root page of a table, its header overwritten.
        let page: u32 = raw(folder.path())
            .query_row(
                "SELECT rootpage FROM sqlite_schema WHERE name = ?",
                [table],
                |row| row.get(0),
            )
            .unwrap();
        let mut bytes = good.clone();
        bytes[(page as usize - 1) * 4096..][..64].fill(0xaa);
        fs::write(folder.path().join(DATABASE), &bytes).unwrap();
        let error = refusal(&folder, &vault(1)).to_string();
        assert!(error.contains("the database is damaged"), "{error}");
        assert_eq!(database_bytes(&folder), bytes);
        fs::write(folder.path().join(DATABASE), &good).unwrap();
    }
}

#[tokio::test]
async fn a_row_under_another_name_is_damage() {
    let (folder, store) = fresh();
    for number in 0..10 {
        store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
    }
    drop(store);
    let mut bytes = database_bytes(&folder);
    let name = id(5).to_string().into_bytes();
    let place = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    bytes[place + 4] = b'f';
    fs::write(folder.path().join(DATABASE), &bytes).unwrap();
    // It would be looked for, and not found, where it belongs.
    let error = refusal(&folder, &vault(1)).to_string();
    assert!(
        error.contains("the database is damaged (row 6 missing from index"),
        "{error}"
    );
    assert_eq!(database_bytes(&folder), bytes);
}

#[tokio::test]
async fn a_column_of_the_wrong_type_does_not_stop_the_start() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    store.put_integration(account(2), None, Vec::new()).await.unwrap();
    drop(store);
    // A record's header lists the types of its columns: texts of 24, 6 and 5 bytes for id, kind and owner. One
    // flipped bit makes the owner a blob (https://sqlite.org/fileformat.html#record_format).
    let mut bytes = database_bytes(&folder);
    let header = [13 + 2 * 24, 13 + 2 * 6, 13 + 2 * 5];
    let place = bytes.windows(3).position(|window| window == header).unwrap();
    bytes[place + 2] ^= 1;
    fs::write(folder.path().join(DATABASE), &bytes).unwrap();
    let contents = open(&folder).load().await.unwrap();
    assert_eq!(contents.integrations.len(), 1, "{:?}", contents.unusable);
    assert!(
        contents.unusable[0]
            .problem
            .to_string()
            .contains("its owner does not make sense"),
        "{:?}",
        contents.unusable
    );
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_reported_and_left_alone() {
    let (folder, store) = fresh();
    for number in 1..=8 {
        let version = store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
        store
            .finish_renewal(&id(number), version, renewed(token(number, "a", 0)))
            .await
            .unwrap();
    }
    let database = raw(folder.path());
    let damage = [
        ("integrations", "scopes = 'a \"b\"'"),
        ("secrets", "health = 'fine'"),
        ("integrations", "kind = 'yahoo'"),
        ("integrations", "owner = ''"),
        ("secrets", "version = -1"),
        ("integrations", "connected_at = 9223372036854775807"),
    ];
    for (number, (table, assignment)) in (1..).zip(damage) {
        let which = match table {
            "secrets" => "place = (SELECT number << 16 FROM integrations WHERE id = ?)",
            _ => "id = ?",
        };
        let sql = format!("UPDATE {table} SET {assignment} WHERE {which}");
        assert_eq!(database.execute(&sql, [id(number).as_str()]).unwrap(), 1);
    }
    let token = "UPDATE secrets SET granted = '\"' \
                 WHERE place = (SELECT (number << 16) + 1 FROM integrations WHERE id = ?)";
    assert_eq!(database.execute(token, [id(7).as_str()]).unwrap(), 1);

    let contents = store.load().await.unwrap();
    assert_eq!(
        contents
            .integrations
            .iter()
            .map(|record| &record.id)
            .collect::<Vec<_>>(),
        [&id(7), &id(8)]
    );
    assert_eq!(contents.tokens.len(), 7);
    assert_eq!(contents.unusable.len(), 7);
    for (number, record) in (1..).zip(&contents.unusable) {
        assert_eq!(record.name, id(number).to_string());
        assert!(
            record.problem.to_string().contains(id(number).as_str()),
            "{record:?}"
        );
    }
    // A renewal says so, too, and writes nothing.
    let refused = store.begin_renewal(&id(2), at(1)).await;
    assert!(matches!(refused, Err(StoreError::Altered { .. })));
    let attempts: i64 = database
        .query_row("SELECT count(*) FROM renewals", [], |row| row.get(0))
        .unwrap();
    assert_eq!(attempts, 0);
    assert!(
        store.delete_integration(&id(2), Vec::new()).await.unwrap(),
        "it can be disconnected"
    );
}

#[tokio::test]
async fn an_account_whose_grant_is_gone_is_reported_and_can_be_connected_again() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    store.put_integration(account(2), None, Vec::new()).await.unwrap();
    raw(folder.path())
        .execute("DELETE FROM secrets WHERE integration = 1", [])
        .unwrap();
    let contents = store.load().await.unwrap();
    assert_eq!(contents.integrations.len(), 1);
    let problem = contents.unusable[0].problem.to_string();
    assert!(
        problem.contains(id(1).as_str()) && problem.contains("its grant is missing"),
        "{problem}"
    );
    assert!(store.begin_renewal(&id(1), at(1)).await.unwrap().is_none());
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    assert_eq!(grant(&store, 1).await, "grant");
}

#[tokio::test]
async fn a_ciphertext_moved_to_another_row_does_not_open() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    store.put_integration(account(2), None, Vec::new()).await.unwrap();
    let moving = "UPDATE secrets SET secret = \
                  (SELECT secret FROM integrations JOIN secrets ON place = number << 16 WHERE id = ?1) \
                  WHERE place = (SELECT number << 16 FROM integrations WHERE id = ?2)";
    let ids = [id(2), id(1)];
    assert_eq!(
        raw(folder.path())
            .execute(moving, [ids[0].as_str(), ids[1].as_str()])
            .unwrap(),
        1
    );
    let error = store.integration(&id(1)).await.err().unwrap().to_string();
    assert!(
        error.contains(id(1).as_str()) && error.contains("moved there from another record"),
        "{error}"
    );
    // Nor would it open.
    let moved: Vec<u8> = raw(folder.path())
        .query_row("SELECT secret FROM secrets WHERE place = 1 << 16", [], |row| {
            row.get(0)
        })
        .unwrap();
    let opened = vault(1).open(&Binding::RefreshToken(&id(1)), &Sealed::from_bytes(moved));
    assert!(matches!(opened, Err(VaultError::Tampered { .. })));
    assert_eq!(grant(&store, 2).await, "grant", "the other one works on");
}

#[tokio::test]
async fn a_trigger_that_somebody_put_into_the_schema_does_nothing_and_ours_come_back() {
    let (folder, store) = fresh();
    let version = store.put_integration(account(1), None, Vec::new()).await.unwrap();
    drop(store);
    raw(folder.path())
        .execute_batch(
            "CREATE TRIGGER kept BEFORE DELETE ON integrations BEGIN SELECT RAISE(IGNORE); END;
             CREATE TRIGGER lost BEFORE UPDATE ON secrets BEGIN SELECT RAISE(IGNORE); END;
             DROP TRIGGER account_removed;
             CREATE VIEW \"an \"\"odd\"\" one\" AS SELECT 1;",
        )
        .unwrap();
    let store = open(&folder);
    let left =
        "SELECT group_concat(name, ' ' ORDER BY name) FROM sqlite_schema WHERE type IN ('trigger', 'view')";
    let left: String = raw(folder.path()).query_row(left, [], |row| row.get(0)).unwrap();
    assert_eq!(
        left,
        "account_added account_changed account_removed grant_changed"
    );
    let rotated = RenewalOutcome {
        rotated: Some(refresh_token(&id(1), "rotated")),
        ..renewed(token(1, "a b", 0))
    };
    store.finish_renewal(&id(1), version, rotated).await.unwrap();
    assert_eq!(grant(&store, 1).await, "rotated");
    assert!(store.delete_integration(&id(1), Vec::new()).await.unwrap());
    assert!(store.integration(&id(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn an_index_that_somebody_put_into_the_schema_stops_no_renewal_and_ours_come_back() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    drop(store);
    raw(folder.path())
        .execute_batch(
            "CREATE INDEX evil ON renewals (abs(-9223372036854775807 - attempts));
             CREATE UNIQUE INDEX one ON integrations (owner);
             DROP INDEX secrets_of_integration;
             DROP INDEX audit_renewals;
             CREATE INDEX audit_renewals ON audit (abs(-9223372036854775807 - sequence));",
        )
        .unwrap();
    let store = open(&folder);
    let left = "SELECT group_concat(name, ' ' ORDER BY name) FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL";
    let left: String = raw(folder.path()).query_row(left, [], |row| row.get(0)).unwrap();
    assert_eq!(
        left,
        "audit_renewals secrets_of_integration security_events_of_account"
    );
    assert!(store.begin_renewal(&id(1), at(1)).await.unwrap().is_some());
    store.put_integration(account(2), None, Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_table_that_somebody_took_out_of_the_schema_is_named_and_nothing_changes() {
    let renamed = "ALTER TABLE audit RENAME TO audit2; CREATE VIEW audit AS SELECT * FROM audit2;";
    let refusals = [
        (renamed, "it has no table audit;"),
        ("DROP TABLE unchecked;", "it has no table unchecked;"),
        (
            "ALTER TABLE integrations RENAME COLUMN former TO later;",
            "its table integrations has no column former;",
        ),
    ];
    for (change, named) in refusals {
        let (folder, store) = fresh();
        store.put_integration(account(1), None, Vec::new()).await.unwrap();
        drop(store);
        raw(folder.path()).execute_batch(change).unwrap();
        let before = database_bytes(&folder);
        let error = refusal(&folder, &vault(1)).to_string();
        assert!(
            error.contains("broker.db: the database's schema is damaged, or somebody changed it")
                && error.contains(named),
            "{error}"
        );
        assert_eq!(database_bytes(&folder), before);
    }
}

#[tokio::test]
async fn what_somebody_puts_into_the_schema_while_it_is_open_undoes_nothing() {
    let (folder, store) = fresh();
    for number in 1..=2 {
        store
            .put_integration(account(number), None, Vec::new())
            .await
            .unwrap();
    }
    let put = |sql: &str| raw(folder.path()).execute_batch(sql).unwrap();
    put(
        "CREATE TRIGGER kept BEFORE DELETE ON integrations BEGIN SELECT RAISE(IGNORE); END;
         DROP TRIGGER account_removed;",
    );
    assert!(store.delete_integration(&id(1), Vec::new()).await.unwrap());
    assert!(store.integration(&id(1)).await.unwrap().is_none());
    // Once more, after the first was noticed.
    put(
        "CREATE TRIGGER kept BEFORE DELETE ON integrations BEGIN SELECT RAISE(IGNORE); END;
         CREATE INDEX evil ON renewals (abs(-9223372036854775807 - attempts));",
    );
    assert!(store.begin_renewal(&id(2), at(1)).await.unwrap().is_some());
    assert!(store.delete_integration(&id(2), Vec::new()).await.unwrap());
    assert!(store.integration(&id(2)).await.unwrap().is_none());
    let left = "SELECT group_concat(name, ' ' ORDER BY name) FROM sqlite_schema WHERE type = 'trigger'";
    let left: String = raw(folder.path()).query_row(left, [], |row| row.get(0)).unwrap();
    assert_eq!(
        left,
        "account_added account_changed account_removed grant_changed"
    );
}

#[tokio::test]
async fn a_table_that_is_taken_away_while_it_is_open_stops_nothing_else() {
    let (folder, store) = fresh();
    store.put_integration(account(1), None, Vec::new()).await.unwrap();
    raw(folder.path())
        .execute_batch("ALTER TABLE audit RENAME TO audit2; DROP TRIGGER account_removed;")
        .unwrap();
    assert!(store.begin_renewal(&id(1), at(1)).await.unwrap().is_some());
    assert!(store.delete_integration(&id(1), Vec::new()).await.unwrap());
}
