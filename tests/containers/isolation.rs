//! What a container can reach: its own agent, and nothing of any other's.

use crate::{
    container::Container,
    support::{Daemon, Emulator},
};

const SEND: &str = "google.gmail.send";
const DRIVE: &str = "google.drive.readonly";

#[test]
fn two_agents_containers_reach_nothing_of_each_other() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    // The same uid, the hardest case: the mount alone keeps them apart.
    daemon.write_manifest("mailer", "alice", &[SEND]);
    daemon.write_manifest("reader", "alice", &[DRIVE]);
    daemon.start();
    daemon.connect("alice", &[SEND, DRIVE]).expect_ok();
    let agents = ["mailer", "reader"].map(|name| daemon.wait_for_state(name, "active"));
    let tokens = agents.each_ref().map(|agent| agent.token().unwrap());
    assert_ne!(tokens[0], tokens[1]);
    let containers = agents.each_ref().map(|agent| Container::idle(agent).start());

    for (number, container) in containers.iter().enumerate() {
        let (own, others) = (&tokens[number], &tokens[1 - number]);
        let asked = container.exec(&["token-broker", "token"]).expect_ok().stdout;
        assert_eq!(asked.trim(), own);
        let other = ["reader", "mailer"][number];
        // Whatever it looks at, by name or by walking: files, sockets, mounts, other processes' roots.
        let look = format!(
            "cat /run/token-broker/env /run/token-broker/../{other}/env /run/{other}/env {directory}/env
             token-broker token --socket {directory}/broker.sock
             for root in /proc/[0-9]*/root; do ls $root/run/token-broker/../; cat $root/run/token-broker/env; done
             find / -type f -name env -exec cat {{}} \\; -o -name broker.sock -print
             cat /proc/net/unix /proc/mounts /proc/self/mountinfo; true",
            directory = agents[1 - number].directory.display(),
        );
        for uid in [crate::support::AGENT_UID, 0] {
            let seen = container.exec_as(uid, &["sh", "-c", &look]).expect_ok();
            assert!(!seen.stdout.contains(others.as_str()), "{seen:?}");
            assert!(!seen.stdout.contains(other), "{seen:?}");
            let own_sockets = seen
                .stdout
                .lines()
                .filter(|line| line.starts_with('/') && line.ends_with("broker.sock"));
            assert!(own_sockets.eq(["/run/token-broker/broker.sock"]), "{seen:?}");
        }
        // The narrowed token is of its own agent, too.
        let narrowed = container.exec(&["token-broker", "token", "--capability", [DRIVE, SEND][number]]);
        assert_eq!((narrowed.code, narrowed.stdout.as_str()), (7, ""), "{narrowed:?}");
    }

    // And it can change nothing: not for itself, and so not for what the daemon writes.
    for attempt in [
        "rm -f env",
        "rm -f broker.sock",
        "touch planted",
        "mv env old",
        "chmod 777 .",
        "mkdir .env.new",
    ] {
        for uid in [crate::support::AGENT_UID, 0] {
            let tried =
                containers[0].exec_as(uid, &["sh", "-c", &format!("cd /run/token-broker && {attempt}")]);
            assert_ne!(tried.code, 0, "{attempt}: {tried:?}");
        }
    }
    assert_eq!(agents[0].token().as_ref(), Some(&tokens[0]));
}
