//! A manifest in `agents.d` gives an agent to another holder, while the daemon runs and while it does not.

use std::{fs, os::unix::fs::MetadataExt};

use crate::support::{Agent, CredentialFile, Daemon, Emulator, is_root, manifest, wait_for};

const SEND: &str = "google.gmail.send";
const REFRESH: &str = "grant_type=refresh_token&refresh_token=bot";

/// Alice and bob with their accounts, and the agent `bot` of alice's.
fn running() -> (Emulator, Daemon, Agent) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::for_libraries(&google, "bot");
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    for owner in ["alice", "bob"] {
        daemon
            .connect_as(owner, &format!("{owner}@example.com"), &[SEND])
            .expect_ok();
    }
    let bot = daemon.wait_for_state("bot", "active");
    (google, daemon, bot)
}

/// Waits until the bot has another secret and a token that works with it.
fn wait_for_next(bot: &Agent, before: &CredentialFile) -> CredentialFile {
    wait_for("the bot's next secret", || {
        let file = bot.credential_file()?;
        let is_next = file.get("client_secret") != before.get("client_secret");
        (is_next && bot.token().is_some() && bot.try_get("/v1/token").is_ok_and(|a| a.status == 200))
            .then_some(file)
    })
}

fn opens(file: &CredentialFile, secret_of: &CredentialFile) -> bool {
    file.post("bot", secret_of.get("client_secret"), REFRESH).status == 200
}

#[test]
fn each_field_that_says_whose_it_is_ends_what_the_one_before_had() {
    let (_google, daemon, bot) = running();
    let inode = fs::metadata(&bot.directory).unwrap().ino();
    let mut file = bot.credential_file().unwrap();
    let of = |owner: &str| manifest("bot", owner, &[SEND]);
    let mut changes = vec![
        of("alice") + "kubernetes: {namespace: billing, serviceAccount: bot}\n",
        of("alice") + "kubernetes: {namespace: billing, serviceAccount: other}\n",
        of("bob"),
        of("bob") + "account: nobody@example.com\n",
        of("bob"),
    ];
    if is_root() {
        changes.push(of("bob").replace("uid: 4242", "uid: 4243"));
        changes.push(of("bob").replace("uid: 4242", "uid: 4243\ngid: 4243"));
    }
    for text in changes {
        let mut events = bot.watch();
        fs::write(bot.path("planted"), "by the one before").unwrap();
        daemon.put_file("bot", &text);
        while events.next().is_some() {}
        if text.contains("nobody@") {
            daemon.wait_for_state("bot", "not_connected");
            assert!(!opens(&file, &file), "{text}");
            file = bot.credential_file().unwrap();
            continue;
        }
        let next = wait_for_next(&bot, &file);
        assert!(!opens(&next, &file) && opens(&next, &next), "{text}");
        assert!(!bot.path("planted").exists(), "{text}");
        file = next;
        if is_root() {
            let owner = |name: &str| {
                fs::metadata(bot.path(name))
                    .map(|file| (file.uid(), file.gid()))
                    .unwrap()
            };
            let uid = if text.contains("4243") { 4243 } else { 4242 };
            assert_eq!(owner("env").0, uid, "{text}");
            assert_eq!(owner("broker.sock"), owner("env"), "{text}");
        }
        assert_eq!(
            fs::metadata(&bot.directory).unwrap().ino(),
            inode,
            "a container that has it mounted would see nothing any more: {text}"
        );
    }
    let audit = daemon.audit();
    assert!(
        audit.contains("it is given to another holder (owner, kubernetes)"),
        "{audit}"
    );
    // What it needs is no matter of whose it is.
    let events = bot.watch();
    daemon.put_file(
        "bot",
        &fs::read_to_string(daemon.agents_d().join("bot.yaml"))
            .unwrap()
            .replace(SEND, "google.drive"),
    );
    daemon.wait_for_state("bot", "permission_missing");
    assert_eq!(
        bot.credential_file().unwrap().get("client_secret"),
        file.get("client_secret")
    );
    drop(events);
}

#[test]
fn a_holder_that_changed_while_the_daemon_was_down_finds_nothing_of_the_one_before() {
    let (_google, daemon, bot) = running();
    let alices = bot.credential_file().unwrap();
    let of_alice = bot.token().unwrap();
    // Killed, so that nothing was tidied up.
    daemon.kill9();
    fs::write(bot.path("planted"), "by the one before").unwrap();
    daemon.write_manifest("bot", "bob", &[SEND]);
    daemon.start();
    // As soon as it is ready.
    let bobs = bot.credential_file().unwrap();
    assert!(!opens(&bobs, &alices));
    assert_ne!(bot.token(), Some(of_alice.clone()));
    daemon.wait_for_token("bot", Some(&of_alice));
    assert!(!bot.path("planted").exists());
    assert_eq!(bot.status()["owner"], "bob");
    assert!(opens(&bobs, &bobs) && !opens(&bobs, &alices));
    // Unchanged, it stays: also over a kill.
    daemon.kill9();
    daemon.start();
    let again = bot.credential_file().unwrap();
    assert_eq!(again.get("client_secret"), bobs.get("client_secret"));
}
