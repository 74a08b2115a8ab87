//! Agents on a node: what they see is what they would see on the broker's own machine.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{
    broker::{Broker, Node, SEND, SEVEN, token},
    machine::Machine,
    support::{program, wait_until},
};

#[test]
fn an_agents_files_and_socket_are_kept_by_the_node() {
    let broker = Broker::start("10s");
    broker.give_active("bot", &[SEVEN]);
    broker.give_active("other", &["node-8.corp.example"]);
    let mut machine = Machine::started(&broker, SEVEN);
    let first = machine.wait_for_token("bot", None);
    assert!(first.starts_with("ya29."));
    let agent = machine.agent("bot");
    let env = agent.try_read("env").unwrap();
    assert!(
        env.contains("GOOGLE_OAUTH_CAPABILITIES=google.gmail.send\nTOKEN_BROKER_STATE=active\n"),
        "{env}"
    );
    assert!(agent.try_read("status.json").unwrap().contains("\"alice\""));
    // Renewed.
    let second = machine.wait_for_token("bot", Some(&first));
    assert_ne!(first, second);
    // What is asked on the socket, also beyond the view.
    let narrowed = agent.get(&format!("/v1/token?capability={SEND}")).json();
    assert!(narrowed["access_token"].as_str().unwrap().starts_with("ya29."));
    assert!(agent.grpc().token().unwrap().access_token.starts_with("ya29."));
    let refused = agent.get("/v1/token?capability=google.drive");
    assert_eq!(refused.json()["code"], "not_declared");
    // No other's.
    assert!(!machine.agent("other").directory.exists());
    // Given to it, and taken away.
    broker.give("other", &[SEVEN]);
    machine.wait_for_token("other", None);
    let mut watch = machine.agent("other").watch();
    broker.give("other", &["node-8.corp.example"]);
    wait_until("the agent's directory to go", || {
        !machine.agent("other").directory.exists()
    });
    while watch.next().is_some() {}
    // Disconnected: the files are empty at once, and so is the socket.
    let disconnect = ["integrations", "disconnect", "--owner", "alice", "--yes"];
    broker.daemon.cli(&disconnect).expect_ok();
    machine.wait_for_none("bot", "not_connected");
    assert_eq!(
        machine.agent("bot").get("/v1/token").json()["code"],
        "not_connected"
    );
    assert_eq!(machine.terminate(), 0, "{}", machine.log());
}

#[test]
fn who_may_read_is_what_the_manifest_says() {
    let broker = Broker::start("1h");
    let text = format!(
        "agent: bot\nowner: alice\nuid: 1234\nnodes: [node-8.corp.example]\nintegrations: [{{key: {SEND}}}]\n"
    );
    broker.daemon.put_file("bot", &text);
    let machine = Machine::started(&broker, "node-8.corp.example");
    machine.wait_for_token("bot", None);
    for file in ["env", "access_token", "status.json", "broker.sock"] {
        assert_eq!(
            fs::symlink_metadata(machine.agent("bot").path(file))
                .unwrap()
                .uid(),
            1234,
            "{file}"
        );
    }
    // Another reader is another agent.
    let text = text.replace("1234", "1235");
    broker.daemon.put_file("bot", &text);
    wait_until("the file to be the other's", || {
        let env = fs::symlink_metadata(machine.agent("bot").path("env"));
        env.is_ok_and(|env| env.uid() == 1235)
    });
}

#[test]
fn what_is_stolen_from_a_node_is_its_own_agents_tokens_and_no_more() {
    let broker = Broker::start("1h");
    broker.give_active("bot", &[SEVEN]);
    broker.give_active("other", &["node-8.corp.example"]);
    let machine = Machine::started(&broker, SEVEN);
    let own = machine.wait_for_token("bot", None);
    let others = broker.daemon.agent("other").token().unwrap();
    let key = fs::read_to_string(broker.daemon.key_file()).unwrap();
    // What each refresh token of the emulator begins with.
    let mut secrets = vec!["1//emu-", key.trim(), &broker.google.client_secret];
    if others != own {
        secrets.push(&others);
    }
    for (path, content) in machine.everything() {
        let holds = |secret: &str| {
            content
                .windows(secret.len())
                .any(|part| part == secret.as_bytes())
        };
        for secret in &secrets {
            assert!(!holds(secret), "{}", path.display());
        }
        assert!(!path.to_string_lossy().contains(".db"), "{}", path.display());
    }
    // A thief asks with the node's certificate: for the node's agents, until the manifest names another node.
    let thief = broker.node(SEVEN);
    let (agents, views) = thief.resume(&[]).settled();
    assert_eq!(agents, ["bot"]);
    assert_eq!(token(&views[0]), Some(&*own));
    broker.give("bot", &["node-8.corp.example"]);
    wait_until("the agent to be another node's", || {
        !machine.agent("bot").directory.exists()
    });
    let nothing = Node::with(&broker, &broker.authority.client(&[SEVEN])).unwrap();
    assert_eq!(nothing.resume(&[]).settled(), (Vec::new(), Vec::new()));
}

#[test]
fn a_node_is_no_broker() {
    let broker = Broker::start("1h");
    let machine = Machine::new(&broker, SEVEN);
    let doctor = |exit: i32, said: &str| {
        let output = program()
            .arg("--config")
            .arg(machine.config_file())
            .arg("doctor")
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(exit), "{stdout}");
        assert!(stdout.contains(said), "{stdout}");
    };
    doctor(0, "this is a node of the broker at https://localhost:");
    let config = fs::read_to_string(machine.config_file()).unwrap();
    for (more, said) in [
        ("[key]\nsource = 'file:/nowhere'\n", "key.source is a broker's"),
        ("[google]\nclient_id = 'x'\n", "google.client_id is a broker's"),
    ] {
        fs::write(machine.config_file(), format!("{config}{more}")).unwrap();
        let output = program()
            .arg("--config")
            .arg(machine.config_file())
            .arg("serve")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(said), "{stderr}");
        assert!(
            stderr.contains("with upstream.url this daemon is a node"),
            "{stderr}"
        );
    }
}
