//! What agents have is not taken away by a mistake in a manifest, also where the daemon was restarted meanwhile.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use crate::support::{Agent, CredentialFile, Daemon, Emulator, wait_until};

const SEND: &str = "google.gmail.send";

/// Alice's agents `bot` and `mail`.
fn running() -> (Emulator, Daemon, Agent, CredentialFile) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::for_libraries(&google, "bot");
    for agent in ["bot", "mail"] {
        daemon.write_manifest(agent, "alice", &[SEND]);
    }
    daemon.start();
    daemon
        .connect_as("alice", "alice@example.com", &[SEND])
        .expect_ok();
    daemon.wait_for_state("mail", "active");
    let bot = daemon.wait_for_state("bot", "active");
    let secret = bot.credential_file().unwrap();
    (google, daemon, bot, secret)
}

fn is_same(bot: &Agent, secret: &CredentialFile) -> bool {
    let now = bot.credential_file().unwrap();
    now.get("client_secret") == secret.get("client_secret")
}

#[test]
fn an_agent_whose_manifest_cannot_be_read_at_the_start_keeps_what_it_has() {
    let (_google, daemon, bot, secret) = running();
    let inode = fs::metadata(&bot.directory).unwrap().ino();
    let file = daemon.agents_d().join("bot.yaml");
    let good = fs::read_to_string(&file).unwrap();
    let typo = good.replace("owner", "ownr");
    let unfit: [(&str, &dyn Fn()); 3] = [
        ("a typo", &|| fs::write(&file, &typo).unwrap()),
        ("others may write it", &|| {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        }),
        ("a link to nothing", &|| {
            fs::remove_file(&file).unwrap();
            symlink("nowhere.yaml", &file).unwrap();
        }),
    ];
    for (what, spoil) in unfit {
        daemon.terminate();
        spoil();
        for _ in 0..2 {
            daemon.start();
            daemon.wait_for_state("mail", "active");
            let kept = daemon.wait_for_state("bot", "misconfigured");
            assert_eq!(kept.token(), None, "{what}");
            assert!(is_same(&kept, &secret), "{what}");
            assert_eq!(fs::metadata(&bot.directory).unwrap().ino(), inode, "{what}");
            let status = daemon.cli(&["status"]);
            assert!(
                status.stdout.contains("bot: known from before the start"),
                "{}",
                status.stdout
            );
            let doctor = daemon.cli(&["doctor"]);
            assert_eq!(doctor.code, 1, "{}", doctor.stdout);
            // Also after an end that tidied nothing.
            daemon.kill9();
        }
        daemon.start();
        let _ = fs::remove_file(&file);
        daemon.put_file("bot", &good);
        daemon.wait_for_state("bot", "active");
        assert!(bot.token().is_some() && is_same(&bot, &secret), "{what}");
    }
    // Where everything could be read, an agent that nobody declares is gone.
    daemon.terminate();
    fs::write(&file, &typo).unwrap();
    daemon.start();
    daemon.wait_for_state("bot", "misconfigured");
    fs::remove_file(&file).unwrap();
    wait_until("the agent to go", || !bot.directory.exists());
}

#[test]
fn another_holder_does_not_come_into_what_was_kept() {
    let (_google, daemon, bot, secret) = running();
    daemon.connect_as("bob", "bob@example.com", &[SEND]).expect_ok();
    daemon.terminate();
    fs::write(bot.path("planted"), "by the one before").unwrap();
    daemon.put_file("bot", "agent: bot\n");
    daemon.start();
    daemon.wait_for_state("bot", "misconfigured");
    daemon.write_manifest("bot", "bob", &[SEND]);
    wait_until("the agent to be bob's", || {
        bot.credential_file().is_some() && bot.token().is_some() && bot.status()["owner"] == "bob"
    });
    assert!(!is_same(&bot, &secret) && !bot.path("planted").exists());
}

#[test]
fn without_the_folder_that_agents_came_from_the_daemon_does_not_start() {
    let (_google, daemon, bot, secret) = running();
    daemon.terminate();
    let (folder, aside) = (daemon.agents_d(), daemon.config_dir().join("aside"));
    fs::rename(&folder, &aside).unwrap();
    for is_link in [false, true] {
        if is_link {
            symlink("nowhere", &folder).unwrap();
        }
        let refused = daemon.try_start().unwrap_err();
        assert_eq!(refused.code, 7, "{}", refused.stderr);
        assert!(
            refused.stderr.contains("agents.d: the folder"),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains("bot, mail"), "{}", refused.stderr);
        assert!(bot.token().is_some(), "it lives to its end");
    }
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    daemon.start();
    daemon.wait_for_state("bot", "active");
    assert!(is_same(&bot, &secret));
    // Empty, it says that nobody is left.
    daemon.terminate();
    fs::rename(&folder, &aside).unwrap();
    fs::create_dir(&folder).unwrap();
    daemon.start();
    assert!(!bot.directory.exists());
    // From then on it need not be there.
    daemon.terminate();
    fs::remove_dir(&folder).unwrap();
    daemon.start();
}
