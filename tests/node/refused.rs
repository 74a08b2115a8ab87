//! Who is not told anything, and the sentence for it.

use token_broker::proto::v1::{Heartbeat, sync_request::Message};
use tonic::Code;

use crate::{
    broker::{Broker, Node, SEVEN, forwarded, not_let_in},
    support::{Authority, reason, replace},
};

#[test]
fn without_a_certificate_of_the_authoritys_nobody_is_let_in() {
    let broker = Broker::start("1h");
    let said = not_let_in(&broker, None);
    assert!(said.contains("CertificateRequired"), "{said}");
    let stranger = Authority::named("a stranger").client(&[SEVEN]);
    let said = not_let_in(&broker, Some(&stranger));
    assert!(
        said.contains("UnknownCA") || said.contains("DecryptError"),
        "{said}"
    );
    // One that is for servers is none of a node.
    let server = broker.authority.for_servers(&[SEVEN]);
    let said = not_let_in(&broker, Some(&server));
    assert!(said.contains("Certificate"), "{said}");
}

#[test]
fn each_refusal_has_its_sentence() {
    let broker = Broker::start("1h");
    broker.give_active("bot", &[SEVEN]);
    // A certificate that names nobody.
    let nameless = Node::with(&broker, &broker.authority.client(&[])).unwrap();
    let refused = nameless.say(None).err().unwrap();
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::Unauthenticated, "unknown_node")
    );
    assert!(refused.message().contains("has no URI and no DNS name"));
    // Another first word.
    let node = broker.node(SEVEN);
    for first in [None, Some(Message::Heartbeat(Heartbeat {}))] {
        let refused = node.say(first).unwrap().next().unwrap_err();
        assert_eq!(reason(&refused).0, "invalid_request");
        assert_eq!(
            refused.message(),
            "the first message of a node has to be `resume`"
        );
    }
    // More streams than one node may have.
    let held: Vec<_> = (0..4).map(|_| node.resume(&[])).collect();
    let refused = node.say(None).err().unwrap();
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::ResourceExhausted, "rate_limited")
    );
    drop(held);
}

#[test]
fn an_agent_of_another_node_is_not_asked_for() {
    let broker = Broker::start("1h");
    broker.give_active("bot", &["node-8.corp.example"]);
    let ask = |agent| {
        let (status, problem) = forwarded(&broker, SEVEN, agent, "/v1/token");
        let text = |field: &str| problem[field].as_str().unwrap().to_owned();
        (status, text("code"), text("detail"))
    };
    assert_eq!(
        ask(Some("bot")),
        (
            403,
            "wrong_node".to_owned(),
            "The agent bot is not given to a node whose certificate has spiffe://corp.example/node/7: name the node in \
             `nodes` of the agent's manifest, by a name of its certificate."
                .to_owned()
        )
    );
    assert_eq!(
        ask(Some("nobody")),
        (
            404,
            "unknown_agent".to_owned(),
            "The broker knows no agent nobody, for which a node whose certificate has spiffe://corp.example/node/7 asks: \
             add its manifest."
                .to_owned()
        )
    );
    assert_eq!(ask(None).1, "invalid_request");
    let audit = broker.daemon.cli(&["audit", "list"]).stdout;
    assert!(audit.contains("wrong_node"), "{audit}");
}

#[test]
fn a_stream_ends_when_its_authority_is_not_in_force_any_more() {
    let broker = Broker::start("1h");
    broker.give_active("bot", &[SEVEN]);
    let mut told = broker.node(SEVEN).resume(&[]);
    told.settled();
    replace(&broker.ca_file(), &Authority::named("another").pem);
    // Files are compared at each connection.
    not_let_in(&broker, Some(&broker.authority.client(&[SEVEN])));
    told.next().unwrap_err();
}
