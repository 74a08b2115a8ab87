//! Copies of the database, and what becomes of them when they are put back.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use crate::sqlite_store::{Restore, tests::*};

const NOTE: &str = super::super::lineage::NOTE;

/// Three accounts, each with a token.
async fn connected() -> (TempDir, SqliteStore) {
    let (folder, store) = fresh();
    for number in 1..=3 {
        connect(&store, number).await;
    }
    (folder, store)
}

async fn connect(store: &SqliteStore, number: u32) {
    let version = store.put_integration(account(number), None, Vec::new()).await;
    obtain(store, number, version.unwrap()).await;
}

async fn obtain(store: &SqliteStore, number: u32, version: u64) {
    store
        .finish_renewal(&id(number), version, renewed(token(number, "a", 0)))
        .await
        .unwrap();
}

/// A copy as a file of its own.
async fn back_up(store: &SqliteStore) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    store.copy(Some(folder.path())).await.unwrap().put(&file).unwrap();
    (folder, file)
}

fn restore(folder: &TempDir, backup: &Path) -> Result<Option<PathBuf>, StoreError> {
    Restore::prepare(folder.path(), backup, &vault(1), None)?.put_in_place(".before")
}

/// What is in force in a database that is opened as a daemon does it: accounts, tokens, and accounts that are held.
async fn in_force(store: &SqliteStore) -> (usize, usize, Vec<IntegrationId>) {
    let contents = store.load().await.unwrap();
    assert!(contents.unusable.is_empty(), "{:?}", contents.unusable);
    (
        contents.integrations.len(),
        contents.tokens.len(),
        contents.unchecked,
    )
}

/// The actions in the trail that tell of a restore.
async fn told(store: &SqliteStore) -> usize {
    let lines = store.audit(0, 1000, false).await.unwrap();
    lines
        .iter()
        .filter(|line| line.action == "database.restored")
        .count()
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_copy_is_one_whole_file_with_what_was_answered_last_and_without_tokens() {
    let (folder, store) = connected().await;
    // All of it is in the write-ahead log, where a copy of the file alone would miss it.
    let copied = raw(folder.path()).query_row("SELECT count(*) FROM integrations", [], |row| row.get(0));
    assert_eq!(copied, Ok(3));
    let (beside, file) = back_up(&store).await;
    assert_eq!(names(&beside), ["backup.db"]);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let copy = Connection::open(&file).unwrap();
    let count = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM integrations"), 3);
    assert_eq!(count("SELECT count(*) FROM secrets WHERE requested IS NULL"), 3);
    assert_eq!(
        count("SELECT count(*) FROM secrets WHERE requested IS NOT NULL"),
        0
    );
    // The store goes on, and keeps its tokens.
    assert_eq!(in_force(&store).await, (3, 3, Vec::new()));
    assert_eq!(names(&folder), IN_USE);
}

#[tokio::test]
async fn a_copy_that_is_made_while_others_write_is_of_one_moment() {
    let (_folder, store) = fresh();
    let store = Arc::new(store);
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 1..=200 {
                store
                    .put_integration(account(number), None, Vec::new())
                    .await
                    .unwrap();
            }
        })
    };
    let mut seen = 0;
    while !writing.is_finished() {
        let (_beside, file) = back_up(&store).await;
        let copy = Connection::open(&file).unwrap();
        let accounts: i64 = copy
            .query_row("SELECT count(*) FROM integrations", [], |row| row.get(0))
            .unwrap();
        let grants: i64 = copy
            .query_row("SELECT count(*) FROM secrets", [], |row| row.get(0))
            .unwrap();
        assert_eq!(accounts, grants);
        assert!(accounts >= seen);
        seen = accounts;
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn a_restored_database_holds_its_accounts_until_each_has_a_token() {
    let (folder, store) = connected().await;
    let (_beside, file) = back_up(&store).await;
    assert!(store.delete_integration(&id(1), Vec::new()).await.unwrap());
    connect(&store, 4).await;
    drop(store);

    let kept = restore(&folder, &file).unwrap().expect("there was one");
    assert_eq!(kept, folder.path().join("broker.db.before"));
    let before = Connection::open(&kept).unwrap();
    let accounts = before.query_row("SELECT count(*) FROM integrations", [], |row| {
        row.get::<_, i64>(0)
    });
    assert_eq!(accounts, Ok(3), "two, three and four");
    let store = open(&folder);
    store.tell_of_restore(at(9)).await.unwrap();
    assert_eq!(in_force(&store).await, (3, 0, vec![id(1), id(2), id(3)]));
    assert_eq!(told(&store).await, 1);

    // Over a restart as well, until there is a token, or another grant.
    drop(store);
    let store = open(&folder);
    store.tell_of_restore(at(9)).await.unwrap();
    assert_eq!((told(&store).await, in_force(&store).await.2.len()), (1, 3));
    let version = now(&store, 1).await.version;
    obtain(&store, 1, version).await;
    let version = now(&store, 2).await.version;
    store
        .put_integration(account(2), Some(version), Vec::new())
        .await
        .unwrap();
    assert_eq!(in_force(&store).await, (3, 1, vec![id(3)]));
    drop(store);
    assert_eq!(in_force(&open(&folder)).await, (3, 1, vec![id(3)]));
}

#[tokio::test]
async fn a_restore_is_not_undone_by_the_write_ahead_log_of_before() {
    let (folder, store) = connected().await;
    let (_beside, file) = back_up(&store).await;
    assert!(store.delete_integration(&id(1), Vec::new()).await.unwrap());
    // As after a kill: what was done since is in the log alone.
    let killed = crashed_copy(&folder);
    drop(store);
    assert!(killed.path().join("broker.db-wal").metadata().unwrap().len() > 0);
    restore(&killed, &file).unwrap();
    assert_eq!(
        names(&killed),
        [
            "broker.db",
            "broker.db.before",
            "broker.db.before-wal",
            "broker.lock",
            "broker.mark",
            "broker.reserve"
        ]
    );
    assert_eq!(in_force(&open(&killed)).await.0, 3);
    let before = Connection::open(killed.path().join("broker.db.before")).unwrap();
    let accounts = before.query_row("SELECT count(*) FROM integrations", [], |row| {
        row.get::<_, i64>(0)
    });
    assert_eq!(accounts, Ok(2));
}

#[tokio::test]
async fn a_copy_that_was_put_back_by_hand_is_noticed() {
    let (folder, store) = connected().await;
    let copy = crashed_copy(&folder);
    assert!(store.delete_integration(&id(1), Vec::new()).await.unwrap());
    drop(store);
    for name in [DATABASE, "broker.db-wal"] {
        fs::copy(copy.path().join(name), folder.path().join(name)).unwrap();
    }
    assert_eq!(in_force(&open(&folder)).await, (3, 0, vec![id(1), id(2), id(3)]));
}

#[tokio::test]
async fn a_copy_is_noticed_where_there_was_another_database_or_none() {
    let (_folder, store) = connected().await;
    let (_beside, file) = back_up(&store).await;
    let (other, store) = fresh();
    drop(store);
    for folder in [other, tempfile::tempdir().unwrap()] {
        fs::copy(&file, folder.path().join(DATABASE)).unwrap();
        assert_eq!(in_force(&open(&folder)).await.2.len(), 3);
    }
}

#[tokio::test]
async fn what_a_crash_leaves_is_not_taken_for_a_copy() {
    let (folder, store) = connected().await;
    let before = fs::read(folder.path().join(NOTE)).unwrap();
    assert!(store.delete_integration(&id(1), Vec::new()).await.unwrap());
    assert_ne!(fs::read(folder.path().join(NOTE)).unwrap(), before);
    // The note may be older than the database.
    let crashed = crashed_copy(&folder);
    fs::write(crashed.path().join(NOTE), before).unwrap();
    assert_eq!(in_force(&open(&crashed)).await, (2, 2, Vec::new()));
    // A grant that was replaced counts as well, a renewal that replaces nothing does not.
    let noted = || fs::read(folder.path().join(NOTE)).unwrap();
    let before = noted();
    let version = now(&store, 2).await.version;
    obtain(&store, 2, version).await;
    assert_eq!(noted(), before);
    let rotated = RenewalOutcome {
        rotated: Some(refresh_token(&id(2), "another")),
        ..renewed(token(2, "a", 1))
    };
    store.finish_renewal(&id(2), version, rotated).await.unwrap();
    assert_ne!(noted(), before);
}

#[test]
fn only_a_regular_file_is_restored_and_nobody_is_waited_for() {
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fifo = place.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    for (backup, kind) in [(fifo.as_path(), "a FIFO"), (Path::new("/dev/null"), "a device")] {
        let error = restore(&folder, backup).expect_err("it is no backup").to_string();
        assert!(
            error.contains(&format!("it is {kind}, not a regular file")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_not_fit_is_refused_and_changes_nothing() {
    let (folder, store) = connected().await;
    let (beside, file) = back_up(&store).await;
    let refused = |folder: &TempDir, file: &Path| restore(folder, file).expect_err("it is not fit");
    assert!(matches!(refused(&folder, &file), StoreError::Locked(_)));
    drop(store);
    let before = database_bytes(&folder);

    let foreign = Restore::prepare(folder.path(), &file, &vault(2), None).err();
    assert!(matches!(foreign, Some(StoreError::WrongKey { .. })));
    let good = fs::read(&file).unwrap();
    let page: u32 = Connection::open(&file)
        .unwrap()
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'audit'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let mut damaged = good.clone();
    damaged[(page as usize - 1) * 4096..][..64].fill(0xaa);
    let bad = beside.path().join("bad.db");
    let cases: [(&[u8], &str); 4] = [
        (&damaged, "is damaged"),
        (&good[..good.len() / 2], "bad.db"),
        (
            b"Dear diary, today I wrote a text that is surely not a database.",
            "is not a database",
        ),
        (b"", "is not a database of token-broker"),
    ];
    for (bytes, sentence) in cases {
        fs::write(&bad, bytes).unwrap();
        let error = refused(&folder, &bad).to_string();
        assert!(error.contains(sentence) && error.contains("bad.db"), "{error}");
        assert!(!error.contains("start empty"), "{error}");
    }
    fs::write(&bad, &good).unwrap();
    Connection::open(&bad)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(matches!(refused(&folder, &bad), StoreError::Newer { .. }));
    fs::remove_file(&bad).unwrap();
    Connection::open(&bad)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    let error = refused(&folder, &bad).to_string();
    assert!(error.contains("is not a database of token-broker"), "{error}");

    assert_eq!(database_bytes(&folder), before);
    assert_eq!(
        names(&folder),
        ["broker.db", "broker.lock", "broker.mark", "broker.reserve"]
    );
    assert_eq!(in_force(&open(&folder)).await, (3, 3, Vec::new()));
}

#[tokio::test]
async fn a_restore_that_was_cut_off_is_not_started_on() {
    let (folder, store) = connected().await;
    let (_beside, file) = back_up(&store).await;
    drop(store);
    super::super::lineage::note_restore(folder.path(), false).unwrap();
    // Between the two, when there is no database at all.
    fs::rename(
        folder.path().join(DATABASE),
        folder.path().join("broker.db.replaced-1"),
    )
    .unwrap();
    let error = refusal(&folder, &vault(1)).to_string();
    assert!(error.contains("token-broker restore"), "{error}");
    assert!(!folder.path().join(DATABASE).exists(), "nothing was begun anew");
    assert!(restore(&folder, &file).unwrap().is_none());
    assert_eq!(in_force(&open(&folder)).await.2.len(), 3);
}

#[tokio::test]
async fn each_database_that_is_replaced_keeps_a_name_of_its_own() {
    let (folder, store) = connected().await;
    let (_beside, file) = back_up(&store).await;
    drop(store);
    let kept = [(); 3].map(|()| restore(&folder, &file).unwrap().unwrap());
    let names = kept.map(|path| path.file_name().unwrap().to_owned());
    assert_eq!(
        names,
        ["broker.db.before", "broker.db.before-2", "broker.db.before-3"]
    );
}

#[tokio::test]
async fn a_stopped_database_is_copied_and_left_as_it_is() {
    let (folder, store) = connected().await;
    let to = tempfile::tempdir().unwrap();
    let running = SqliteStore::copy_of_stopped(folder.path(), to.path()).err();
    assert!(matches!(running, Some(StoreError::Locked(_))));
    let killed = crashed_copy(&folder);
    drop(store);
    let copy = SqliteStore::copy_of_stopped(killed.path(), to.path()).unwrap();
    restore(&folder, copy.path()).unwrap();
    assert_eq!(in_force(&open(&folder)).await.0, 3);
    drop(copy);
    assert!(names(&to).is_empty());
    assert_eq!(in_force(&open(&killed)).await, (3, 3, Vec::new()));
    let empty = tempfile::tempdir().unwrap();
    let none = SqliteStore::copy_of_stopped(empty.path(), to.path())
        .err()
        .unwrap();
    assert!(none.to_string().contains("there is no database here"), "{none}");
    assert!(names(&empty).is_empty());
}

#[tokio::test]
async fn copies_that_a_kill_left_are_removed() {
    let (folder, store) = connected().await;
    let left = store.copy(None).await.unwrap();
    let killed = crashed_copy_with_folders(&folder, left.path());
    drop(store);
    drop(open(&killed));
    assert!(!names(&killed).iter().any(|name| name.starts_with(".copy-")));
}

/// What a kill leaves while a copy is under way.
fn crashed_copy_with_folders(folder: &TempDir, left: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join(DATABASE), copy.path().join(DATABASE)).unwrap();
    let beside = copy.path().join(".copy-abc");
    fs::create_dir(&beside).unwrap();
    fs::copy(left, beside.join(DATABASE)).unwrap();
    copy
}
