//! What an owner's client finds, what a platform does not, and who the audit trail says it was.

use token_broker::proto::v1::{
    AgentSpec, BeginConnectRequest, BeginSessionRequest, CheckIntegrationRequest, CompleteConnectRequest,
    DeleteAgentRequest, DisconnectRequest, EndSessionsRequest, GetAgentRequest, GetIntegrationRequest,
    ImportIntegrationRequest, IntegrationRef, ListAgentsRequest, ListAuditEventsRequest,
    ListIntegrationsRequest, PutAgentRequest, Requirement, WaitConnectRequest, WatchEventsRequest,
};
use tonic::{Code, Status};

use super::{ALICE, OPERATOR, PLATFORM, Scene};
use crate::support::{Admin, block_on, browse, reason};

const MAIL: &str = "google.gmail.send";

/// Two owners with an account each, and an agent each, which came over the API.
fn scene() -> Scene {
    let scene = Scene::start();
    let mut admin = scene.daemon.admin();
    for (owner, account, agent) in [
        ("alice", "alice@example.com", "alices-bot"),
        ("bob", "bob@example.com", "bobs-bot"),
    ] {
        put(&mut admin, agent, owner).unwrap();
        scene.daemon.connect_as(owner, account, &[MAIL]).expect_ok();
        scene.daemon.wait_for_state(agent, "active");
    }
    scene
}

fn put(admin: &mut Admin, agent: &str, owner: &str) -> Result<(), Status> {
    let need = Requirement {
        key: MAIL.to_owned(),
        description: "Send".to_owned(),
        ..Requirement::default()
    };
    let spec = AgentSpec {
        agent: agent.to_owned(),
        owner: owner.to_owned(),
        integrations: vec![need],
        ..AgentSpec::default()
    };
    block_on(admin.put_agent(PutAgentRequest { spec: Some(spec) })).map(drop)
}

fn delete(admin: &mut Admin, agent: &str) -> Result<(), Status> {
    let request = DeleteAgentRequest {
        agent: agent.to_owned(),
    };
    block_on(admin.delete_agent(request)).map(drop)
}

fn owners(admin: &mut Admin, owner: &str) -> Result<Vec<String>, Status> {
    let request = ListIntegrationsRequest {
        owner: owner.to_owned(),
    };
    let list = block_on(admin.list_integrations(request))?.into_inner();
    Ok(list.integrations.into_iter().map(|found| found.owner).collect())
}

fn agents(admin: &mut Admin, owner: &str) -> Result<Vec<String>, Status> {
    let request = ListAgentsRequest {
        owner: owner.to_owned(),
    };
    let list = block_on(admin.list_agents(request))?.into_inner();
    let name = |agent: token_broker::proto::v1::Agent| agent.spec.unwrap().agent;
    Ok(list.agents.into_iter().map(name).collect())
}

fn begin(admin: &mut Admin, owner: &str, integration_id: &str) -> Result<(String, String), Status> {
    let request = BeginConnectRequest {
        owner: owner.to_owned(),
        integration_id: integration_id.to_owned(),
        capabilities: vec!["google.calendar.readonly".to_owned()],
        ..BeginConnectRequest::default()
    };
    let begun = block_on(admin.begin_connect(request))?.into_inner();
    Ok((begun.connect_id.clone(), begun.authorization_url.clone()))
}

/// A name that is another owner's.
#[track_caller]
fn expect_not_theirs<T: std::fmt::Debug>(ended: Result<T, Status>) {
    let status = ended.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(reason(&status).0, "other_owner");
}

/// As if it were not there.
#[track_caller]
fn expect_not_there<T: std::fmt::Debug>(ended: Result<T, Status>) {
    let status = ended.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
}

#[test]
fn an_owners_client_finds_what_is_the_owners_alone() {
    let scene = scene();
    let mut local = scene.daemon.admin();
    let bobs = {
        let request = ListIntegrationsRequest {
            owner: "bob".to_owned(),
        };
        let list = block_on(local.list_integrations(request)).unwrap().into_inner();
        list.integrations[0].id.clone()
    };
    let mut alice = scene.client(ALICE);
    assert_eq!(owners(&mut local, "").unwrap(), ["alice", "bob"]);
    for own in ["", "alice"] {
        assert_eq!(owners(&mut alice, own).unwrap(), ["alice"]);
        assert_eq!(agents(&mut alice, own).unwrap(), ["alices-bot"]);
    }
    expect_not_theirs(owners(&mut alice, "bob"));
    expect_not_theirs(agents(&mut alice, "bob"));

    let by_id = || {
        Some(IntegrationRef {
            id: bobs.clone(),
            ..IntegrationRef::default()
        })
    };
    let by_owner = || {
        Some(IntegrationRef {
            owner: "bob".to_owned(),
            ..IntegrationRef::default()
        })
    };
    let get = |integration| GetIntegrationRequest { integration };
    let check = |integration| CheckIntegrationRequest { integration };
    let drop_it = |integration| DisconnectRequest {
        integration,
        ..DisconnectRequest::default()
    };
    expect_not_there(block_on(alice.get_integration(get(by_id()))));
    expect_not_there(block_on(alice.check_integration(check(by_id()))));
    expect_not_there(block_on(alice.disconnect(drop_it(by_id()))));
    expect_not_theirs(block_on(alice.get_integration(get(by_owner()))));
    expect_not_theirs(block_on(alice.check_integration(check(by_owner()))));
    expect_not_theirs(block_on(alice.disconnect(drop_it(by_owner()))));
    expect_not_theirs(begin(&mut alice, "bob", ""));
    expect_not_there(begin(&mut alice, "", &bobs));
    let import = ImportIntegrationRequest {
        owner: "bob".to_owned(),
        grant: "1//x".to_owned(),
        account: String::new(),
        integration: String::new(),
    };
    expect_not_theirs(block_on(alice.import_integration(import)));

    expect_not_theirs(put(&mut alice, "new-bot", "bob"));
    // Nor does an agent of bob's give way.
    expect_not_theirs(put(&mut alice, "bobs-bot", "alice"));
    expect_not_there(delete(&mut alice, "bobs-bot"));
    let get = GetAgentRequest {
        agent: "bobs-bot".to_owned(),
    };
    expect_not_there(block_on(alice.get_agent(get)));
    assert_eq!(agents(&mut local, "bob").unwrap(), ["bobs-bot"]);
    assert_eq!(owners(&mut local, "bob").unwrap(), ["bob"]);
    put(&mut alice, "new-bot", "alice").unwrap();
    delete(&mut alice, "new-bot").unwrap();
}

#[test]
fn an_owners_client_brings_the_owner_to_so_many_agents() {
    let scene = Scene::with(&[("admin.agents_per_owner", "2")]);
    let (mut local, mut alice) = (scene.daemon.admin(), scene.client(ALICE));
    for agent in ["one", "two"] {
        put(&mut alice, agent, "alice").unwrap();
        let agent = scene.daemon.agent(agent);
        assert!(
            agent.path("env").exists() && agent.socket().exists(),
            "it is there with the answer"
        );
    }
    let status = put(&mut alice, "three", "alice").unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).0.as_str()),
        (Code::FailedPrecondition, "too_many_agents")
    );
    assert!(status.message().contains("admin.agents_per_owner"), "{status:?}");
    put(&mut alice, "two", "alice").unwrap();
    put(&mut local, "three", "alice").unwrap();
}

#[test]
fn a_consent_is_waited_for_and_ended_by_whose_it_is() {
    let scene = scene();
    let (mut local, mut alice) = (scene.daemon.admin(), scene.client(ALICE));
    let (id, _) = begin(&mut local, "bob", "").unwrap();
    let wait = WaitConnectRequest { connect_id: id };
    expect_not_there(block_on(alice.wait_connect(wait)));
    // An address with bob's state, and a code that is no use: whoever may end it learns that, and it is over.
    let (_, url) = begin(&mut local, "bob", "").unwrap();
    let state = url::Url::parse(&url).unwrap();
    let state = state
        .query_pairs()
        .find(|(key, _)| key == "state")
        .unwrap()
        .1
        .into_owned();
    let redirect = || CompleteConnectRequest {
        redirect_url: format!("http://127.0.0.1/oauth/callback?error=access_denied&state={state}"),
    };
    expect_not_there(block_on(alice.complete_connect(redirect())));
    let status = block_on(local.complete_connect(redirect())).unwrap_err();
    assert_eq!(reason(&status).0, "consent_denied", "it was still there");
    // Her own.
    let (id, url) = begin(&mut alice, "alice", "").unwrap();
    browse(&url);
    let wait = WaitConnectRequest { connect_id: id };
    let ended = block_on(alice.wait_connect(wait)).unwrap().into_inner();
    assert_eq!(ended.integration.unwrap().owner, "alice");
}

#[test]
fn events_and_lines_of_others_are_left_out() {
    let scene = scene();
    let (mut local, mut alice) = (scene.daemon.admin(), scene.client(ALICE));
    let mut platform = scene.client(PLATFORM);
    let mut events = block_on(alice.watch_events(WatchEventsRequest {}))
        .unwrap()
        .into_inner();
    put(&mut platform, "bobs-other", "bob").unwrap();
    delete(&mut local, "bobs-bot").unwrap();
    put(&mut local, "alices-other", "alice").unwrap();
    delete(&mut local, "alices-bot").unwrap();
    // Everything comes in order: had bob's been told, it would be here.
    loop {
        let event = block_on(events.message()).unwrap().unwrap();
        assert!(
            event.agent.is_empty() || event.agent.starts_with("alices-"),
            "{event:?}"
        );
        if event.kind == "agent.removed" && event.agent == "alices-bot" {
            break;
        }
    }
    let lines = |admin: &mut Admin, newest| {
        let request = ListAuditEventsRequest {
            newest,
            limit: 50,
            ..ListAuditEventsRequest::default()
        };
        block_on(admin.list_audit_events(request))
            .unwrap()
            .into_inner()
            .events
    };
    let own = lines(&mut platform, false);
    assert!(!own.is_empty() && own.iter().all(|line| line.actor == format!("client:{PLATFORM}")));
    assert!(
        own.iter()
            .any(|line| line.action == "agent.put" && line.detail.contains("bobs-other"))
    );
    let hers = lines(&mut alice, true);
    assert!(hers.iter().any(|line| line.detail.contains("alices-bot")));
    assert!(hers.iter().all(|line| !line.detail.contains("bob")), "{hers:?}");
    assert!(hers.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let all = lines(&mut scene.client(OPERATOR), false);
    assert!(all.len() > own.len() + hers.len());
    assert_eq!(lines(&mut local, false).len(), all.len());
}

#[test]
fn only_an_operator_makes_and_ends_the_operators_sessions() {
    let scene = scene();
    let session = |owner: &str| BeginSessionRequest {
        owner: owner.to_owned(),
        ..BeginSessionRequest::default()
    };
    let end = |owner: &str| EndSessionsRequest {
        owner: owner.to_owned(),
    };
    let mut platform = scene.client(PLATFORM);
    expect_not_theirs(block_on(platform.begin_session(session(""))));
    expect_not_theirs(block_on(platform.end_sessions(end(""))));
    block_on(platform.begin_session(session("bob"))).unwrap();
    let ended = block_on(platform.end_sessions(end("bob"))).unwrap().into_inner();
    assert_eq!(ended.links, 1);
    let mut alice = scene.client(ALICE);
    for other in ["", "bob"] {
        expect_not_theirs(block_on(alice.begin_session(session(other))));
        expect_not_theirs(block_on(alice.end_sessions(end(other))));
    }
    block_on(alice.begin_session(session("alice"))).unwrap();
    let mut operator = scene.client(OPERATOR);
    block_on(operator.begin_session(session(""))).unwrap();
    assert_eq!(
        block_on(operator.end_sessions(end("")))
            .unwrap()
            .into_inner()
            .links,
        2
    );
}
