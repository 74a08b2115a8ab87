//! `status`: how the daemon, or one agent, is doing.

use std::path::Path;

use clap::Args;

use super::{
    agent_status, connections,
    json::{Agent, Daemon},
    options::{AgentArgs, Global},
    output::Output,
    settings,
    style::Tone,
    tables,
};
use crate::{
    client::{
        admin::refused,
        agent::{AgentSocket, DEFAULT_SOCKET},
        agent_status::AgentStatus,
        exit::{Exit, Failure, Outcome},
    },
    proto::v1,
    text::count,
    text::time_format,
};

const EXAMPLES: &str = "\
Examples:
  token-broker status                        the daemon and its agents
  token-broker status --agent invoice-bot    one agent; the exit code says how it stands

In an agent's container, where there is no admin socket, shows that agent.";

/// Show how the daemon, or one agent, is doing
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Runs `status`.
pub(super) async fn run(args: &StatusArgs, global: &Global, output: &mut Output) -> Outcome {
    // A server that is named is meant, whichever agent's place this is.
    let named = match global.server {
        Some(_) if !args.agent.is_given() => None,
        _ => args.agent.named(global)?,
    };
    if let Some(socket) = named {
        return agent(&AgentSocket::new(socket), output).await;
    }
    let may_be_an_agents = !global.names_daemon() && Path::new(DEFAULT_SOCKET).exists();
    if may_be_an_agents && !settings::admin_socket(global)?.exists() {
        return agent(&AgentSocket::new(DEFAULT_SOCKET.into()), output).await;
    }
    daemon(global, output).await
}

async fn agent(socket: &AgentSocket, output: &mut Output) -> Outcome {
    let body = socket.get("/v1/status").await?;
    let status = AgentStatus::parse(&body)?;
    if output.is_json() {
        let value: serde_json::Value = serde_json::from_slice(&body).map_err(|error| {
            Failure::new(Exit::Failed, format!("the daemon's status is malformed: {error}"))
        })?;
        output.json(&value)?;
    } else {
        agent_status::show(&status, output)?;
    }
    Ok(status.exit())
}

async fn daemon(global: &Global, output: &mut Output) -> Outcome {
    let mut admin = connections::admin(global, output).await?;
    let status = admin
        .get_daemon_status(v1::GetDaemonStatusRequest {})
        .await
        .map_err(refused)?;
    let daemon = Daemon::from(status.into_inner());
    let listed = admin
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .map_err(refused)?
        .into_inner();
    let agents: Vec<Agent> = listed.agents.into_iter().map(Into::into).collect();
    if output.is_json() {
        output.json(&serde_json::json!({ "daemon": daemon, "agents": agents }))?;
        return Ok(Exit::Ok);
    }
    show(&daemon, output)?;
    if !agents.is_empty() {
        output.line("")?;
        tables::agents(&agents, output)?;
    }
    Ok(Exit::Ok)
}

fn show(daemon: &Daemon, output: &mut Output) -> Result<(), Failure> {
    let now = output.now();
    let time = |time: Option<_>| time.map(|time| time_format::both(now, time)).unwrap_or_default();
    let skew = match daemon.clock_skew_seconds {
        0 => String::new(),
        ahead @ 1.. => format!("this machine's clock is {ahead}s behind the provider's"),
        behind => format!(
            "this machine's clock is {}s ahead of the provider's",
            behind.unsigned_abs()
        ),
    };
    output.fields(vec![
        ("version", daemon.version.as_str().into()),
        ("started", time(daemon.started_at).into()),
        ("runtime_dir", daemon.runtime_dir.as_str().into()),
        ("public_url", daemon.public_url.as_str().into()),
        ("integrations", daemon.integrations.to_string().into()),
        (
            "agents",
            format!("{}, {} with a token", daemon.agents, daemon.agents_active).into(),
        ),
        (
            "short of a token",
            short_of_token(daemon.agents_short_of_token).into(),
        ),
        ("next renewal", time(daemon.next_renewal_at).into()),
        ("clock", skew.into()),
        (
            "audit head",
            daemon
                .audit_head
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default()
                .into(),
        ),
        (
            "audit size",
            daemon
                .audit_size
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default()
                .into(),
        ),
    ])?;
    for unmet in &daemon.unmet_conditions {
        output.toned(Tone::Bad, &format!("not ready: {}", unmet.message))?;
    }
    for problem in &daemon.problems {
        output.toned(Tone::Warn, &format!("problem: {problem}"))?;
    }
    Ok(())
}

/// Empty when there is none, so that the line is left out.
fn short_of_token(agents: u64) -> String {
    match agents {
        0 => String::new(),
        agents => format!(
            "{}: nobody has to connect or allow anything for them",
            count(agents, "agent", "agents")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            output::Format,
            testing::{FakeAdmin, FakeBroker, agent_of_alice, parse},
        },
        *,
    };

    #[tokio::test]
    async fn the_daemon_is_shown_with_its_agents() {
        let admin = FakeAdmin {
            agents: vec![agent_of_alice("invoice-bot")],
            ..FakeAdmin::default()
        };
        let server = admin.serve().await;
        let (mut output, out, _) = Output::captured(Format::Text);
        let args = StatusArgs {
            agent: AgentArgs::default(),
        };
        assert_eq!(run(&args, &server.global(), &mut output).await, Ok(Exit::Ok));
        assert_eq!(
            out.text(),
            "version       0.1.0\n\
             started       2h ago (2024-01-15T10:00:00Z)\n\
             runtime_dir   /run/token-broker\n\
             public_url    http://127.0.0.1:8420\n\
             integrations  1\n\
             agents        1, 1 with a token\n\
             next renewal  in 40m (2024-01-15T12:40:00Z)\n\
             clock         this machine's clock is 7s behind the provider's\n\
             audit head    1234:abababababababababababababababababababababababababababababababab\n\
             audit size    3.0 MiB of 512.0 MiB at most (half of the volume)\n\
             problem: the disk is nearly full\n\
             \n\
             AGENT        OWNER  STATE   ACCOUNT            GRANTED  EXPIRES\n\
             invoice-bot  alice  active  alice@example.com  1/2      in 50m\n"
        );
        let (mut output, out, _) = Output::captured(Format::Json);
        run(&args, &server.global(), &mut output).await.unwrap();
        let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(value["daemon"]["clock_skew_seconds"], 7);
        assert_eq!(value["daemon"]["audit_head"]["sequence"], 1234);
        assert_eq!(value["daemon"]["audit_size"]["bytes"], 3 << 20);
        assert_eq!(value["agents"][0]["expires_at"], "2024-01-15T12:50:00Z");
    }

    #[tokio::test]
    async fn what_the_daemon_cannot_do_is_shown() {
        let admin = FakeAdmin {
            unmet_conditions: vec![v1::UnmetCondition {
                condition: "store".to_owned(),
                message: "the disk is full".to_owned(),
            }],
            agents_short_of_token: 2,
            ..FakeAdmin::default()
        };
        let server = admin.serve().await;
        let args = StatusArgs {
            agent: AgentArgs::default(),
        };
        let (mut output, out, _) = Output::captured(Format::Text);
        run(&args, &server.global(), &mut output).await.unwrap();
        let text = out.text();
        assert!(text.contains("not ready: the disk is full\n"), "{text}");
        assert!(
            text.contains("short of a token  2 agents: nobody has to"),
            "{text}"
        );
        let (mut output, out, _) = Output::captured(Format::Json);
        run(&args, &server.global(), &mut output).await.unwrap();
        let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        let daemon = &value["daemon"];
        assert_eq!(
            (&daemon["ready"], &daemon["agents_short_of_token"]),
            (&false.into(), &2.into())
        );
        assert_eq!(daemon["unmet_conditions"][0]["condition"], "store");
    }

    #[tokio::test]
    async fn an_agents_state_is_the_exit_code() {
        let broker = FakeBroker::start().await;
        broker.set_state("revoked", "alice withdrew it");
        let (mut output, out, _) = Output::captured(Format::Text);
        let outcome = run(&parse(&broker.options(&[])), &Global::default(), &mut output).await;
        assert_eq!(outcome, Ok(Exit::NeedsPerson));
        assert!(
            out.text()
                .contains("state    revoked\nmessage  alice withdrew it\n"),
            "{}",
            out.text()
        );
    }
}
