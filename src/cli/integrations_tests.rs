use super::{
    super::{
        output::Format,
        output::testing::Captured,
        testing::{FakeAdmin, alice},
    },
    *,
};
use crate::cli::testing::parse;

fn which(line: &[&str]) -> Which {
    parse(line)
}

async fn show_with(
    admin: FakeAdmin,
    command: IntegrationsCommand,
    format: Format,
) -> (Outcome, Captured, Captured, Vec<String>) {
    let server = admin.serve().await;
    let (mut output, out, err) = Output::captured(format);
    let outcome = run(command, &server.global(), &mut output).await;
    (outcome, out, err, server.calls())
}

fn broken() -> v1::Integration {
    let mut integration = v1::Integration {
        message: "Google says that the grant was revoked".to_owned(),
        action_url: "http://127.0.0.1:8420/connect/alice".to_owned(),
        ..alice()
    };
    integration.set_state(v1::IntegrationState::ReconnectRequired);
    integration
}

#[tokio::test]
async fn the_list_is_a_table_and_then_what_is_wrong() {
    let admin = FakeAdmin {
        integration: broken(),
        ..FakeAdmin::default()
    };
    let command = IntegrationsCommand::List(ListArgs { owner: None });
    let (outcome, out, ..) = show_with(admin, command, Format::Text).await;
    assert_eq!(outcome, Ok(Exit::Ok));
    assert_eq!(
        out.text(),
        "ID                        OWNER  ACCOUNT            KIND    STATE               CAPABILITIES  AGENTS  RENEWED\n\
         int_00000000000000000001  alice  alice@example.com  google  reconnect_required  2             1       10m ago\n\
         \n\
         int_00000000000000000001: Google says that the grant was revoked\n  \
         fix it: http://127.0.0.1:8420/connect/alice\n"
    );
}

#[tokio::test]
async fn an_empty_list_says_how_to_connect() {
    let command = IntegrationsCommand::List(ListArgs {
        owner: Some("bob".parse().unwrap()),
    });
    let (_, out, err, _) = show_with(FakeAdmin::default(), command, Format::Text).await;
    assert_eq!(out.text(), "");
    assert!(err.text().contains("token-broker connect"));
}

#[tokio::test]
async fn one_account_is_shown_in_full() {
    let command = IntegrationsCommand::Show(which(&["--owner", "alice"]));
    let (_, out, ..) = show_with(FakeAdmin::default(), command, Format::Text).await;
    assert!(
        out.text().contains("renewed    10m ago (2024-01-15T11:50:00Z)\n"),
        "{}",
        out.text()
    );
    let command = IntegrationsCommand::Show(which(&["int_00000000000000000001"]));
    let (_, out, ..) = show_with(FakeAdmin::default(), command, Format::Json).await;
    let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(
        (&value["state"], &value["dpop"]),
        (&"active".into(), &"bound".into())
    );
    assert_eq!(value["renewed_at"], "2024-01-15T11:50:00Z");
}

#[tokio::test]
async fn each_capability_is_shown_with_its_state() {
    let command = IntegrationsCommand::Show(which(&["--owner", "alice"]));
    let (_, out, ..) = show_with(FakeAdmin::default(), command, Format::Text).await;
    assert!(
        out.text().ends_with(
            "\n\
             CAPABILITY                STANDING   THROUGH          AGENTS\n\
             google.gmail.send         granted    -                invoice-bot\n\
             google.calendar.readonly  satisfied  google.calendar  invoice-bot\n\
             google.drive              declined   -                invoice-bot\n"
        ),
        "{}",
        out.text()
    );
    let command = IntegrationsCommand::Show(which(&["--owner", "alice"]));
    let (_, out, ..) = show_with(FakeAdmin::default(), command, Format::Json).await;
    let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(value["capability_states"][2]["state"], "declined");
    assert_eq!(value["capability_states"][1]["satisfied_by"], "google.calendar");
}

#[tokio::test]
async fn permissions_are_added_to_the_account_that_was_found() {
    let line = [
        "--owner",
        "alice",
        "--account",
        "alice@example.com",
        "--capability",
        "google.drive",
        "--no-browser",
    ];
    let command = IntegrationsCommand::AddPermissions(parse(&line));
    let (outcome, out, _, calls) = show_with(FakeAdmin::default(), command, Format::Text).await;
    assert_eq!(outcome, Ok(Exit::Ok));
    assert_eq!(
        calls,
        ["begin int_00000000000000000001 google.drive", "wait con_1"]
    );
    assert!(
        out.text().contains("\nConnected alice@example.com for alice"),
        "{}",
        out.text()
    );

    let command =
        IntegrationsCommand::AddPermissions(parse(&["--owner", "bob", "--capability", "google.drive"]));
    let (outcome, _, _, calls) = show_with(FakeAdmin::default(), command, Format::Text).await;
    assert_eq!(outcome.unwrap_err().exit, Exit::NotFound);
    assert_eq!(calls, [""; 0], "nothing was begun");
}

#[tokio::test]
async fn an_unknown_account_is_not_found() {
    let command = IntegrationsCommand::Show(which(&["--owner", "bob"]));
    let failure = show_with(FakeAdmin::default(), command, Format::Text)
        .await
        .0
        .unwrap_err();
    assert_eq!(
        (failure.exit, failure.message.as_str()),
        (Exit::NotFound, "no account is connected for bob")
    );
}

#[tokio::test]
async fn a_check_ends_with_the_state() {
    for (integration, exit) in [(alice(), Exit::Ok), (broken(), Exit::NeedsPerson)] {
        let admin = FakeAdmin {
            integration,
            ..FakeAdmin::default()
        };
        let command = IntegrationsCommand::Check(which(&["--owner", "alice"]));
        assert_eq!(show_with(admin, command, Format::Text).await.0, Ok(exit));
    }
}

fn disconnect_command(line: &[&str]) -> IntegrationsCommand {
    IntegrationsCommand::Disconnect(parse(line))
}

#[tokio::test]
async fn without_an_answer_nothing_is_disconnected() {
    let command = disconnect_command(&["--owner", "alice", "--revoke"]);
    let (outcome, _, err, calls) = show_with(FakeAdmin::default(), command, Format::Text).await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.message.contains("--yes"), "{failure}");
    assert!(
        err.text().contains("These agents lose access: invoice-bot."),
        "{}",
        err.text()
    );
    assert_eq!(calls, ["disconnect int_00000000000000000001 Always dry_run=true"]);
}

#[tokio::test]
async fn a_dry_run_only_looks() {
    let command = disconnect_command(&["--owner", "alice", "--dry-run"]);
    let (outcome, out, _, calls) = show_with(FakeAdmin::default(), command, Format::Text).await;
    assert_eq!(outcome, Ok(Exit::Ok));
    assert!(
        out.text()
            .starts_with("Would disconnect alice@example.com of alice"),
        "{}",
        out.text()
    );
    assert_eq!(calls.len(), 1);
}

#[tokio::test]
async fn with_yes_it_is_done_by_id_after_a_look() {
    let command = disconnect_command(&["--owner", "alice", "--revoke", "--yes"]);
    let (outcome, out, _, calls) = show_with(FakeAdmin::default(), command, Format::Json).await;
    assert_eq!(outcome, Ok(Exit::Ok));
    let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(
        (&value["revoked"], &value["agents"][0]),
        (&true.into(), &"invoice-bot".into())
    );
    assert_eq!(
        calls[1],
        "disconnect int_00000000000000000001 Always dry_run=false"
    );
}

#[tokio::test]
async fn what_becomes_of_the_grant_at_google_is_said() {
    let lines: [(&[&str], _, _); 3] = [
        (&["--owner", "alice", "--yes", "--revoke"], "Always", "confirmed"),
        (
            &["--owner", "alice", "--yes", "--revoke=never"],
            "Never",
            "not asked for",
        ),
        (&["--owner", "alice", "--yes"], "WhenLast", "confirmed"),
    ];
    for (line, asked, said) in lines {
        let command = disconnect_command(line);
        let (_, out, _, calls) = show_with(FakeAdmin::default(), command, Format::Text).await;
        assert!(calls[1].contains(asked), "{calls:?}");
        assert!(
            out.text().contains(&format!("revocation at Google: {said}")),
            "{}",
            out.text()
        );
    }
}

#[tokio::test]
async fn what_could_not_be_done_is_a_failure() {
    let disconnect_problem = "Google did not answer: the grant is still listed there".to_owned();
    let admin = FakeAdmin {
        disconnect_problem,
        ..FakeAdmin::default()
    };
    let command = disconnect_command(&["--owner", "alice", "--revoke", "--yes"]);
    let (outcome, out, ..) = show_with(admin, command, Format::Text).await;
    assert_eq!(outcome, Ok(Exit::Failed));
    assert!(
        out.text().contains("not done: Google did not answer"),
        "{}",
        out.text()
    );
}

#[tokio::test]
async fn a_check_names_the_agent_whose_own_token_carries_less() {
    let mut integration = alice();
    integration.capability_states[0].lacking_agents = vec!["invoice-bot".to_owned()];
    let admin = || FakeAdmin {
        integration: integration.clone(),
        ..FakeAdmin::default()
    };
    let check = || IntegrationsCommand::Check(which(&["--owner", "alice"]));
    let (outcome, out, ..) = show_with(admin(), check(), Format::Text).await;
    assert_eq!(outcome, Ok(Exit::NeedsPerson));
    let said = "The token of invoice-bot does not carry google.gmail.send, although it was granted: ";
    assert!(out.text().contains(said), "{}", out.text());
    let (_, out, ..) = show_with(admin(), check(), Format::Json).await;
    let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(value["capability_states"][0]["lacking_agents"][0], "invoice-bot");
    assert!(value["capability_states"][1].get("lacking_agents").is_none());
}
