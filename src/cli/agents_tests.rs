use super::{
    super::{
        output::{Format, testing::Captured},
        testing::{FakeAdmin, agent_of_alice, parse},
    },
    *,
};

fn two_agents() -> FakeAdmin {
    let mut waiting = agent_of_alice("planner");
    waiting.expires_at = None;
    waiting.delivery_problem = "no space left on device".to_owned();
    if let Some(status) = &mut waiting.status {
        status.set_state(v1::AgentState::PermissionMissing);
        status.message = "alice has not granted google.drive".to_owned();
        status.action_url = "http://127.0.0.1:8420/agents/planner".to_owned();
    }
    FakeAdmin {
        agents: vec![agent_of_alice("invoice-bot"), waiting],
        problems: vec!["agents.d/x.yaml:3: integrations: unknown field".to_owned()],
        ..FakeAdmin::default()
    }
}

async fn run_with(
    admin: FakeAdmin,
    command: AgentsCommand,
    format: Format,
) -> (Outcome, Captured, Vec<String>) {
    let server = admin.serve().await;
    let (mut output, out, _) = Output::captured(format);
    let outcome = run(command, &server.global(), &mut output).await;
    (outcome, out, server.calls())
}

#[tokio::test]
async fn the_list_is_a_table_and_then_what_is_wrong() {
    let (outcome, out, _) = run_with(
        two_agents(),
        AgentsCommand::List(ListArgs { owner: None }),
        Format::Text,
    )
    .await;
    assert_eq!(outcome, Ok(Exit::Ok));
    assert_eq!(
        out.text(),
        "AGENT        OWNER  STATE                              ACCOUNT            GRANTED  EXPIRES\n\
         invoice-bot  alice  active                             alice@example.com  1/2      in 50m\n\
         planner      alice  permission_missing, not delivered  alice@example.com  1/2      -\n\
         \n\
         planner: alice has not granted google.drive\n  \
         fix it: http://127.0.0.1:8420/agents/planner\n\
         \n\
         planner: its files are not up to date: no space left on device\n\
         \n\
         manifest not in force: agents.d/x.yaml:3: integrations: unknown field\n"
    );
}

#[tokio::test]
async fn an_agent_with_an_account_at_another_provider_alone_has_it_in_the_list() {
    let mut admin = two_agents();
    let status = admin.agents[0].status.as_mut().unwrap();
    status.account.clear();
    let address = "alice@acme.example".to_owned();
    status.accounts.insert("acme".to_owned(), address);
    let list = AgentsCommand::List(ListArgs { owner: None });
    let (_, out, _) = run_with(admin, list, Format::Text).await;
    let row = "invoice-bot  alice  active                             acme: alice@acme.example  1/2";
    assert!(out.text().contains(row), "{}", out.text());
}

#[tokio::test]
async fn an_agent_with_a_service_account_alone_has_it_in_the_list() {
    let mut admin = two_agents();
    let status = admin.agents[0].status.as_mut().unwrap();
    status.account.clear();
    status.service_account = "robot@project.iam.example".to_owned();
    let list = AgentsCommand::List(ListArgs { owner: None });
    let (_, out, _) = run_with(admin, list, Format::Text).await;
    let row = "invoice-bot  alice  active                             robot@project.iam.example  1/2";
    assert!(out.text().contains(row), "{}", out.text());
}

#[tokio::test]
async fn one_agent_is_shown_with_its_capabilities() {
    let command = AgentsCommand::Show(parse(&["invoice-bot"]));
    let (_, out, _) = run_with(two_agents(), command, Format::Text).await;
    let text = out.text();
    assert!(
        text.contains("directory      /run/token-broker/agents/invoice-bot\n"),
        "{text}"
    );
    assert!(
        text.contains("google.drive       missing (optional)  -        Send order"),
        "{text}"
    );
    let (_, out, _) = run_with(
        two_agents(),
        AgentsCommand::Show(parse(&["planner"])),
        Format::Json,
    )
    .await;
    let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(value["state"], "permission_missing");
    assert_eq!(value["capabilities"][1]["granted"], false);
    assert!(value.get("expires_at").is_none());
}

#[tokio::test]
async fn an_agent_is_added_from_options_or_from_a_file() {
    let line = [
        "planner",
        "--owner",
        "alice",
        "--capability",
        "google.drive",
        "--optional",
        "google.docs",
    ];
    let (outcome, _, calls) = run_with(
        FakeAdmin::default(),
        AgentsCommand::Add(parse(&line)),
        Format::Text,
    )
    .await;
    assert_eq!(outcome, Ok(Exit::Ok));
    assert_eq!(calls, ["put planner of alice: google.drive google.docs?"]);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bot.yaml");
    std::fs::write(
        &file,
        "agent: bot\nowner: bob\nintegrations:\n  - key: google.docs\n",
    )
    .unwrap();
    let add = AgentsCommand::Add(parse(&["--file", file.to_str().unwrap()]));
    let (_, _, calls) = run_with(FakeAdmin::default(), add, Format::Text).await;
    assert_eq!(calls, ["put bot of bob: google.docs"]);

    std::fs::write(&file, "agent: bot\nownr: bob\n").unwrap();
    let add = AgentsCommand::Add(parse(&["--file", file.to_str().unwrap()]));
    let (outcome, _, calls) = run_with(FakeAdmin::default(), add, Format::Text).await;
    assert!(outcome.unwrap_err().message.contains("bot.yaml:2"));
    assert_eq!(calls, [""; 0]);
}

#[tokio::test]
async fn an_agent_is_removed_only_when_that_is_meant() {
    let remove = |line: &[&str]| AgentsCommand::Remove(parse(line));
    let (outcome, _, calls) = run_with(two_agents(), remove(&["planner"]), Format::Text).await;
    assert_eq!(outcome.unwrap_err().exit, Exit::Usage);
    assert_eq!(calls, [""; 0]);
    let (outcome, out, calls) = run_with(two_agents(), remove(&["planner", "--yes"]), Format::Text).await;
    assert_eq!(outcome, Ok(Exit::Ok));
    assert_eq!(
        (out.text().as_str(), calls),
        ("Removed the agent planner\n", vec!["delete planner".to_owned()])
    );
    let (outcome, ..) = run_with(two_agents(), remove(&["nobody", "--yes"]), Format::Text).await;
    assert_eq!(outcome.unwrap_err().exit, Exit::NotFound);
}

#[tokio::test]
async fn the_pods_of_an_agent_are_set_and_shown() {
    let line = ["bot", "--owner", "alice", "--kubernetes", "billing/invoice-bot"];
    let spec = parse::<AddArgs>(&line).spec().unwrap();
    let pods = spec.kubernetes.clone().unwrap();
    assert_eq!(
        (pods.namespace.as_str(), pods.service_account.as_str()),
        ("billing", "invoice-bot")
    );
    for wrong in ["billing", "/bot", "billing/"] {
        assert!(super::pods(wrong).is_err(), "{wrong}");
    }
    let mut agent = agent_of_alice("bot");
    agent.spec.as_mut().unwrap().kubernetes = Some(pods);
    let admin = || FakeAdmin {
        agents: vec![agent.clone()],
        ..FakeAdmin::default()
    };
    let show = || AgentsCommand::Show(parse(&["bot"]));
    let (_, out, _) = run_with(admin(), show(), Format::Text).await;
    let text = out.text();
    assert!(
        text.lines()
            .any(|line| line.starts_with("pods ") && line.ends_with(" billing/invoice-bot")),
        "{text}"
    );
    let (_, out, _) = run_with(admin(), show(), Format::Json).await;
    let json: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(
        json["kubernetes"],
        serde_json::json!({ "namespace": "billing", "serviceAccount": "invoice-bot" })
    );
}
