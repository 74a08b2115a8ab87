//! The whole of it in a real browser: Debian's Chromium, driven by Playwright. `tests/run` installs both.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::{
    scene::{ALICE, BOB, EVENTS, SEND},
    support::{Daemon, Emulator, Output, PATIENCE},
};

/// What `tests/run` installed: a folder of `.tools`, or where this variable says.
fn installed(variable: &str, folder: &str, part: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os(variable).map_or_else(|| root.join(".tools").join(folder), PathBuf::from);
    let part = folder.join(part);
    assert!(part.exists(), "{} is not there: run tests/run", part.display());
    folder
}

/// The packages of `tests/node/console`, with the script beside them.
fn packages() -> PathBuf {
    let folder = installed(
        "TOKEN_BROKER_TEST_CONSOLE",
        "console",
        "node_modules/playwright-core",
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Modules are looked for beside the script.
    std::fs::copy(root.join("tests/node/console/walk.mjs"), folder.join("walk.mjs")).unwrap();
    folder
}

#[test]
fn people_do_everything_in_a_browser() {
    let folder = packages();
    let node = installed("TOKEN_BROKER_TEST_COUNTERPART", "counterpart", "node").join("node");
    let google = Emulator::start_with(&["--account", ALICE, "--account", BOB]);
    let daemon = Daemon::new(&google);
    daemon.put_file(
        "invoice-bot.yaml",
        "agent: invoice-bot\nowner: alice\nintegrations:\n\
         - key: google.gmail.send\n  description: Send order confirmations\n\
         - key: google.calendar.readonly\n  description: Check your availability\n  optional: true\n",
    );
    daemon.write_manifest("bobs-helper", "bob", &[EVENTS, SEND]);
    daemon.start();
    let key = google.order("/service-accounts", &json!({ "name": "robot" }));
    let key_file = daemon.config_dir().join("robot.json");
    std::fs::write(&key_file, key.to_string()).unwrap();
    let command = daemon.command(&[]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    // It looks at some twenty pages in three ways each; its single steps have limits of their own.
    let walked = Output::within(
        PATIENCE * 5,
        Command::new(node)
            .arg("walk.mjs")
            .current_dir(&folder)
            .env("WALK_ROOT", daemon.http())
            .env("WALK_COMMAND", json!(words).to_string())
            .env("WALK_KEY_FILE", &key_file)
            .env("WALK_REVOKE_URL", format!("{}/revoke", google.control_url)),
    );
    println!("{}", walked.stdout);
    walked.expect_ok();
    let secret = key["private_key"]
        .as_str()
        .unwrap()
        .lines()
        .nth(3)
        .unwrap()
        .to_owned();
    std::fs::remove_file(key_file).unwrap();
    daemon.scan_for_secrets(&[&secret]);
}
