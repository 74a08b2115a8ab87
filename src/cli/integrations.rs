//! `integrations`: connected accounts, shown, checked and let go.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::{
    admin_client::{self, Admin, refused, required},
    args::Global,
    exit::{Exit, Failure, Outcome},
    output::Output,
    progress,
    question::confirm,
    style::{Text, Tone},
    view::{self, Integration},
    when,
};
use crate::{
    id::{IntegrationId, OwnerId},
    proto::v1,
};

/// What can be done with connected accounts.
#[derive(Debug, Subcommand)]
pub(super) enum IntegrationsCommand {
    /// List the connected accounts
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show one account
    Show(Which),
    /// Ask Google now whether the grant still works
    #[command(after_help = "Exits with 0 when it works, and otherwise says by its code who has to act.")]
    Check(Which),
    /// Take an account's tokens from every agent and delete its grant
    Disconnect(DisconnectArgs),
}

/// Which accounts to list.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only this owner's
    #[arg(long)]
    owner: Option<OwnerId>,
}

/// One account: by its id, or by its owner.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("integration").required(true).args(["id", "owner"]))]
pub(super) struct Which {
    /// The integration's id, as `integrations list` shows it
    #[arg(value_name = "ID", conflicts_with = "account")]
    id: Option<IntegrationId>,
    /// Instead of the id: whose account it is
    #[arg(long)]
    owner: Option<OwnerId>,
    /// The account's address, where the owner has several
    #[arg(long, requires = "owner", value_name = "ADDRESS")]
    account: Option<String>,
}

impl Which {
    fn reference(&self) -> v1::IntegrationRef {
        v1::IntegrationRef {
            id: self.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            owner: self.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
            account: self.account.clone().unwrap_or_default(),
        }
    }
}

const DISCONNECT_EXAMPLES: &str = "\
Examples:
  token-broker integrations disconnect --owner alice --dry-run
  token-broker integrations disconnect --owner alice --yes
  token-broker integrations disconnect int_5f0c9a1b2c3d4e5f6071 --revoke

Shows first which agents lose access, and asks. Google revokes an account as a whole: every grant of it in the \
same Google project ends. So it is asked to only when no other integration here is of that account, unless \
--revoke says otherwise.";

/// When to revoke at Google.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Revoke {
    /// When no other integration here is of the same account
    WhenLast,
    /// Leave the grant at Google as it is
    Never,
    /// In any case
    Always,
}

impl From<Revoke> for v1::Revocation {
    fn from(revoke: Revoke) -> Self {
        match revoke {
            Revoke::WhenLast => Self::WhenLast,
            Revoke::Never => Self::Never,
            Revoke::Always => Self::Always,
        }
    }
}

/// How to let go of an account.
#[derive(Debug, Args)]
#[command(after_help = DISCONNECT_EXAMPLES)]
pub(super) struct DisconnectArgs {
    #[command(flatten)]
    which: Which,
    /// When to revoke at Google as well: `--revoke` alone means always
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = Revoke::WhenLast,
        default_missing_value = "always"
    )]
    revoke: Revoke,
    /// Only show what would happen
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Runs `integrations`.
pub(super) async fn run(command: IntegrationsCommand, global: &Global, output: &mut Output) -> Outcome {
    let mut admin = admin_client::connect(global, output).await?;
    match command {
        IntegrationsCommand::List(args) => list(&args, &mut admin, output).await,
        IntegrationsCommand::Show(which) => show(&which, &mut admin, output).await,
        IntegrationsCommand::Check(which) => check(&which, &mut admin, output).await,
        IntegrationsCommand::Disconnect(args) => disconnect(&args, &mut admin, output).await,
    }
}

async fn list(args: &ListArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let owner = args.owner.as_ref().map(ToString::to_string).unwrap_or_default();
    let answer = admin
        .list_integrations(v1::ListIntegrationsRequest { owner })
        .await
        .map_err(refused)?;
    let integrations: Vec<Integration> = answer
        .into_inner()
        .integrations
        .into_iter()
        .map(Into::into)
        .collect();
    if output.is_json() {
        output.json(&serde_json::json!({ "integrations": integrations }))?;
        return Ok(Exit::Ok);
    }
    if integrations.is_empty() {
        output.note(
            "No account is connected. Connect one: token-broker connect --owner OWNER --capability KEY",
        );
        return Ok(Exit::Ok);
    }
    let now = output.now();
    let row = |integration: &Integration| {
        vec![
            Text::from(integration.id.as_str()),
            integration.owner.as_str().into(),
            integration.account.as_str().into(),
            Text::state(&integration.state),
            integration.capabilities.len().to_string().into(),
            integration.agents.len().to_string().into(),
            integration
                .renewed_at
                .map_or_else(|| "never".into(), |time| when::relative(now, time))
                .into(),
        ]
    };
    let rows = integrations.iter().map(row).collect();
    output.table(
        &[
            "ID",
            "OWNER",
            "ACCOUNT",
            "STATE",
            "CAPABILITIES",
            "AGENTS",
            "RENEWED",
        ],
        rows,
    )?;
    for integration in &integrations {
        output.remark(&integration.id, &integration.message, &integration.action_url)?;
    }
    Ok(Exit::Ok)
}

async fn show(which: &Which, admin: &mut Admin, output: &mut Output) -> Outcome {
    let request = v1::GetIntegrationRequest {
        integration: Some(which.reference()),
    };
    let answer = admin.get_integration(request).await.map_err(refused)?;
    let integration = required(answer.into_inner().integration)?.into();
    describe(&integration, output)?;
    Ok(Exit::Ok)
}

async fn check(which: &Which, admin: &mut Admin, output: &mut Output) -> Outcome {
    let request = v1::CheckIntegrationRequest {
        integration: Some(which.reference()),
    };
    let answer = progress::during(output, "asking Google", admin.check_integration(request)).await;
    let integration: Integration = required(answer.map_err(refused)?.into_inner().integration)?.into();
    describe(&integration, output)?;
    Ok(Exit::for_reason(&integration.state).unwrap_or(Exit::Failed))
}

fn describe(integration: &Integration, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(integration);
    }
    let now = output.now();
    let time = |time: Option<_>| time.map(|time| when::both(now, time)).unwrap_or_default();
    output.fields(vec![
        ("id", integration.id.as_str().into()),
        ("kind", integration.kind.as_str().into()),
        ("owner", integration.owner.as_str().into()),
        ("account", integration.account.as_str().into()),
        ("state", Text::state(&integration.state)),
        (
            "message",
            Text::toned(Tone::of_state(&integration.state), integration.message.as_str()),
        ),
        ("fix it", integration.action_url.as_str().into()),
        ("capabilities", integration.capabilities.join(" ").into()),
        ("scopes", integration.scopes.join(" ").into()),
        ("agents", integration.agents.join(" ").into()),
        ("connected", time(integration.connected_at).into()),
        ("renewed", time(integration.renewed_at).into()),
    ])
}

#[derive(Serialize)]
struct Disconnected {
    integration: view::Integration,
    agents: Vec<String>,
    revoked: bool,
    dry_run: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    problem: String,
}

async fn disconnect(args: &DisconnectArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let request = v1::DisconnectRequest {
        integration: Some(args.which.reference()),
        revocation: v1::Revocation::from(args.revoke).into(),
        dry_run: true,
    };
    let plan = let_go(request.clone(), admin, output).await?;
    if args.dry_run {
        report(&plan, output)?;
        return Ok(Exit::Ok);
    }
    if !args.yes {
        ask(&plan, output)?;
    }
    // By its id: what is disconnected is what was shown, whatever happened to the owner meanwhile.
    let id = plan.integration.id;
    let integration = Some(v1::IntegrationRef {
        id,
        ..Default::default()
    });
    let done = let_go(
        v1::DisconnectRequest {
            integration,
            dry_run: false,
            ..request
        },
        admin,
        output,
    )
    .await?;
    report(&done, output)?;
    Ok(if done.problem.is_empty() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

fn ask(plan: &Disconnected, output: &mut Output) -> Result<(), Failure> {
    let agents = match plan.agents.as_slice() {
        [] => "No agent uses it.".to_owned(),
        agents => format!("These agents lose access: {}.", agents.join(", ")),
    };
    let Integration {
        account, owner, id, ..
    } = &plan.integration;
    output.note(&format!("{account} of {owner} ({id}). {agents}"));
    let revoke = if plan.revoked {
        " and revoke it at Google"
    } else {
        ""
    };
    confirm(output, &format!("Disconnect it{revoke}?"))
}

async fn let_go(
    request: v1::DisconnectRequest,
    admin: &mut Admin,
    output: &mut Output,
) -> Result<Disconnected, Failure> {
    let dry_run = request.dry_run;
    let answer = progress::during(output, "disconnecting", admin.disconnect(request)).await;
    let answer = answer.map_err(refused)?.into_inner();
    Ok(Disconnected {
        integration: required(answer.integration)?.into(),
        agents: answer.agents,
        revoked: answer.revoked,
        dry_run,
        problem: answer.problem,
    })
}

fn report(done: &Disconnected, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(done);
    }
    let Integration {
        account, owner, id, ..
    } = &done.integration;
    let (verb, lose) = if done.dry_run {
        ("Would disconnect", "would lose")
    } else {
        ("Disconnected", "lost")
    };
    output.line(&format!("{verb} {account} of {owner} ({id})"))?;
    let agents = if done.agents.is_empty() {
        "none".to_owned()
    } else {
        done.agents.join(", ")
    };
    output.line(&format!("  agents that {lose} access: {agents}"))?;
    let revocation = match (done.dry_run, done.revoked, done.problem.is_empty()) {
        (true, true, _) => "would be asked for",
        (true, false, _) => "would not be asked for",
        (false, true, _) => "confirmed",
        (false, false, false) => "not confirmed",
        (false, false, true) => {
            "not asked for; the person can see to it at https://myaccount.google.com/connections"
        }
    };
    output.line(&format!("  revocation at Google: {revocation}"))?;
    if !done.problem.is_empty() {
        output.toned(Tone::Warn, &format!("  not done: {}", done.problem))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "integrations_tests.rs"]
mod tests;
