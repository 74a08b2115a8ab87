//! `agents`: lists, shows, adds and removes agents, and checks manifests.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    connections,
    json::Agent,
    manifests,
    options::Global,
    output::Output,
    prompt::confirm,
    style::{Text, Tone},
    tables,
};
use crate::{
    admin_api::convert,
    client::{
        admin::{Admin, refused, required},
        exit::{Exit, Failure, Outcome},
    },
    id::{AgentName, CapabilityKey, InvalidId, OwnerId, ProviderId},
    manifest::{Manifest, PodIdentity, Requirement},
    proto::v1,
    text::time_format,
};

/// What can be done with agents.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum AgentsCommand {
    /// List the agents
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show one agent
    Show(ShowArgs),
    /// Add an agent, or replace what it declared
    Add(AddArgs),
    /// Remove an agent that was added, with its directory and socket
    #[command(visible_alias = "rm")]
    Remove(RemoveArgs),
    /// Check manifests; needs no daemon
    Validate(manifests::ValidateArgs),
}

// Which agents to list.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only this owner's
    #[arg(long)]
    owner: Option<OwnerId>,
}

// One agent.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Its name
    agent: AgentName,
}

const ADD_EXAMPLES: &str = "\
Examples:
  token-broker agents add invoice-bot --owner alice --capability google.gmail.send \\
      --optional google.calendar.readonly --uid 1000
  token-broker agents add --file invoice-bot.yaml

Agents also come from manifests in `agents.d` beside the configuration file; those are changed there.";

// An agent's declaration, in a file or in options.
#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
pub(super) struct AddArgs {
    /// Its name, a DNS label
    #[arg(required_unless_present = "file", requires = "owner")]
    agent: Option<AgentName>,
    /// Read the manifest from this file (`-` for standard input)
    #[arg(
        short, long, value_name = "MANIFEST",
        conflicts_with_all = [
            "agent", "owner", "account", "service_account", "accounts", "capabilities", "optional", "uid", "gid",
            "kubernetes"
        ]
    )]
    file: Option<PathBuf>,
    /// Whose account it uses
    #[arg(long)]
    owner: Option<OwnerId>,
    /// The account's address, where the owner has several
    #[arg(long, value_name = "ADDRESS")]
    account: Option<String>,
    /// The service account's address, where the owner has several
    #[arg(long, value_name = "ADDRESS")]
    service_account: Option<String>,
    /// The account's address at another provider, where the owner has several there (repeatable)
    #[arg(long = "account-at", value_name = "PROVIDER=ADDRESS", value_parser = account_at)]
    accounts: Vec<(ProviderId, Box<str>)>,
    /// A capability it cannot work without (repeatable)
    #[arg(long = "capability", value_name = "KEY")]
    capabilities: Vec<CapabilityKey>,
    /// A capability it can work without (repeatable)
    #[arg(long, value_name = "KEY")]
    optional: Vec<CapabilityKey>,
    /// Who may read its directory [default: the daemon's own user]
    #[arg(long)]
    uid: Option<u32>,
    /// The group that may read as well
    #[arg(long)]
    gid: Option<u32>,
    /// On Kubernetes: the pods that may have its directory as a volume, by namespace and service account
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = pods)]
    kubernetes: Option<PodIdentity>,
}

/// Reads `acme=alice@example.com`; what can be an address is checked with the whole manifest.
fn account_at(text: &str) -> Result<(ProviderId, Box<str>), String> {
    let (provider, address) = text
        .split_once('=')
        .ok_or("write the provider and the address, such as `acme=alice@example.com`")?;
    let provider: ProviderId = provider.parse().map_err(|error: InvalidId| error.to_string())?;
    Ok((provider, address.into()))
}

/// Reads `billing/invoice-bot`; what Kubernetes takes as names is checked with the whole manifest.
fn pods(text: &str) -> Result<PodIdentity, String> {
    let (namespace, service_account) = text
        .split_once('/')
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
        .ok_or("write the namespace and the service account, such as `billing/invoice-bot`")?;
    Ok(PodIdentity {
        namespace: namespace.into(),
        service_account: service_account.into(),
    })
}

// Which agent to remove.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Its name
    agent: AgentName,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Runs `agents`.
pub(super) async fn run(command: AgentsCommand, global: &Global, output: &mut Output) -> Outcome {
    match command {
        AgentsCommand::Validate(args) => manifests::validate(&args, global, output),
        AgentsCommand::Add(args) => {
            // Read first: a bad manifest is wrong whether or not the daemon runs.
            let spec = args.spec()?;
            add(spec, &mut connections::admin(global, output).await?, output).await
        }
        AgentsCommand::List(args) => {
            list(&args, &mut connections::admin(global, output).await?, output).await
        }
        AgentsCommand::Show(args) => {
            show(&args, &mut connections::admin(global, output).await?, output).await
        }
        AgentsCommand::Remove(args) => {
            remove(&args, &mut connections::admin(global, output).await?, output).await
        }
    }
}

async fn list(args: &ListArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let owner = args.owner.as_ref().map(ToString::to_string).unwrap_or_default();
    let answer = admin
        .list_agents(v1::ListAgentsRequest { owner })
        .await
        .map_err(refused)?
        .into_inner();
    let agents: Vec<Agent> = answer.agents.into_iter().map(Into::into).collect();
    if output.is_json() {
        output.json(&serde_json::json!({ "agents": agents, "problems": answer.problems }))?;
        return Ok(Exit::Ok);
    }
    if agents.is_empty() {
        output.note("There is no agent. Put a manifest into agents.d, or use `token-broker agents add`.");
    } else {
        tables::agents(&agents, output)?;
    }
    for problem in &answer.problems {
        output.remark("manifest not in force", problem, "")?;
    }
    Ok(Exit::Ok)
}

async fn show(args: &ShowArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let request = v1::GetAgentRequest {
        agent: args.agent.to_string(),
    };
    let answer = admin.get_agent(request).await.map_err(refused)?.into_inner();
    describe(&required(answer.agent)?.into(), output)?;
    Ok(Exit::Ok)
}

fn describe(agent: &Agent, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(agent);
    }
    let now = output.now();
    let time = |time: Option<_>| time.map(|time| time_format::both(now, time)).unwrap_or_default();
    let number = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
    output.fields(vec![
        ("agent", agent.agent.as_str().into()),
        ("owner", agent.owner.as_str().into()),
        ("account", agent.account.as_str().into()),
        ("service account", agent.service_account.as_str().into()),
        ("other accounts", tables::accounts(&agent.accounts).into()),
        ("state", Text::state(&agent.state)),
        (
            "message",
            Text::toned(Tone::of_state(&agent.state), agent.message.as_str()),
        ),
        ("fix it", agent.action_url.as_str().into()),
        ("token expires", time(agent.expires_at).into()),
        ("next renewal", time(agent.next_renewal_at).into()),
        ("last asked", time(agent.last_used_at).into()),
        ("directory", agent.directory.as_str().into()),
        ("uid", number(agent.uid).into()),
        ("gid", number(agent.gid).into()),
        (
            "pods",
            agent
                .kubernetes
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default()
                .into(),
        ),
        ("nodes", agent.nodes.join(", ").into()),
        ("source", agent.source.as_str().into()),
        (
            "not delivered",
            Text::toned(Tone::Bad, agent.delivery_problem.as_str()),
        ),
    ])?;
    tables::capabilities(&agent.capabilities, output)
}

impl AddArgs {
    fn spec(self) -> Result<v1::AgentSpec, Failure> {
        if let Some(file) = &self.file {
            return Ok(convert::spec(&manifests::read(file)?));
        }
        let (Some(agent), Some(owner)) = (self.agent, self.owner) else {
            return Err(Failure::usage("name the agent and its --owner, or give a --file"));
        };
        let requirement = |optional| {
            move |key| Requirement {
                key,
                description: String::new(),
                optional,
            }
        };
        let required = self.capabilities.into_iter().map(requirement(false));
        let integrations = required
            .chain(self.optional.into_iter().map(requirement(true)))
            .collect();
        Ok(convert::spec(&Manifest {
            agent,
            owner,
            account: self.account.map(Into::into),
            service_account: self.service_account.map(Into::into),
            accounts: self.accounts.into_iter().collect(),
            uid: self.uid,
            gid: self.gid,
            kubernetes: self.kubernetes.map(Box::new),
            nodes: Vec::new(),
            integrations,
        }))
    }
}

async fn add(spec: v1::AgentSpec, admin: &mut Admin, output: &mut Output) -> Outcome {
    let answer = admin
        .put_agent(v1::PutAgentRequest { spec: Some(spec) })
        .await
        .map_err(refused)?
        .into_inner();
    describe(&required(answer.agent)?.into(), output)?;
    Ok(Exit::Ok)
}

async fn remove(args: &RemoveArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let agent = args.agent.to_string();
    if !args.yes {
        // An agent that does not exist is said before the question.
        let answer = admin
            .get_agent(v1::GetAgentRequest { agent: agent.clone() })
            .await
            .map_err(refused)?;
        let shown = Agent::from(required(answer.into_inner().agent)?);
        confirm(
            output,
            &format!(
                "Remove the agent {} and its directory {}?",
                shown.agent, shown.directory
            ),
        )?;
    }
    admin
        .delete_agent(v1::DeleteAgentRequest { agent: agent.clone() })
        .await
        .map_err(refused)?;
    if output.is_json() {
        output.json(&serde_json::json!({ "removed": agent }))?;
    } else {
        output.line(&format!("Removed the agent {agent}"))?;
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
#[path = "agents_tests.rs"]
mod tests;
