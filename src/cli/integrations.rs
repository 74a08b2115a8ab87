//! `integrations`: shows connected accounts, checks them, asks for more permissions, and disconnects them.

use clap::{Args, Subcommand};

use super::{
    connect::{ConsentArgs, consent},
    connections,
    disconnect::{DisconnectArgs, disconnect},
    import::{ImportArgs, import},
    json::{Integration, PendingRevocation},
    options::Global,
    options::Which,
    output::Output,
    progress,
    style::{Text, Tone},
    tables,
};
use crate::{
    client::{
        admin::{Admin, refused, required},
        exit::{Exit, Failure, Outcome},
    },
    id::OwnerId,
    proto::v1,
    text::time_format,
};

/// What can be done with connected accounts.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(super) enum IntegrationsCommand {
    /// List the connected accounts
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show one account
    Show(Which),
    /// Ask Google now whether the grant still works
    #[command(
        after_help = "Exits with 0 when it works, and otherwise says by its code who has to act. An agent whose own token \
                      does not carry what was granted is named, and the code is that of a missing permission."
    )]
    Check(Which),
    /// Ask the account's owner for more permissions; what was granted before is kept
    AddPermissions(AddPermissionsArgs),
    /// Take over a grant that a platform holds already
    Import(ImportArgs),
    /// Take an account's tokens from every agent and delete its grant
    Disconnect(DisconnectArgs),
}

// Which accounts to list.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only this owner's
    #[arg(long)]
    owner: Option<OwnerId>,
}

const ADD_EXAMPLES: &str = "\
Examples:
  token-broker integrations add-permissions --owner alice --capability google.calendar
  token-broker integrations add-permissions --owner alice --account alice@work.example \\
      --capability google.drive --capability google.docs
  token-broker integrations add-permissions int_5f0c9a1b2c3d4e5f6071 --capability google.docs

Writes and ends as `connect` does. The provider's page asks for what is new; nothing that was granted before is lost, \
whatever the person decides. Agents that wait for what is granted start at that moment.";

// What to ask for, and whom.
#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
pub(super) struct AddPermissionsArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// Runs `integrations`.
pub(super) async fn run(command: IntegrationsCommand, global: &Global, output: &mut Output) -> Outcome {
    let mut admin = connections::admin(global, output).await?;
    match command {
        IntegrationsCommand::List(args) => list(&args, &mut admin, output).await,
        IntegrationsCommand::Show(which) => show(&which, &mut admin, output).await,
        IntegrationsCommand::Check(which) => check(&which, &mut admin, output).await,
        IntegrationsCommand::AddPermissions(args) => add_permissions(&args, &mut admin, output).await,
        IntegrationsCommand::Import(args) => import(&args, &mut admin, output).await,
        IntegrationsCommand::Disconnect(args) => disconnect(&args, &mut admin, output).await,
    }
}

async fn list(args: &ListArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let owner = args.owner.as_ref().map(ToString::to_string).unwrap_or_default();
    let answer = admin
        .list_integrations(v1::ListIntegrationsRequest { owner })
        .await
        .map_err(refused)?;
    let answer = answer.into_inner();
    let integrations: Vec<Integration> = answer.integrations.into_iter().map(Into::into).collect();
    let pending: Vec<PendingRevocation> = answer.pending_revocations.into_iter().map(Into::into).collect();
    if output.is_json() {
        output.json(&serde_json::json!({
            "integrations": integrations, "pending_revocations": pending,
        }))?;
        return Ok(Exit::Ok);
    }
    for revocation in &pending {
        output.note(&revocation.to_string());
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
            integration.kind.as_str().into(),
            Text::state(&integration.state),
            integration.capabilities.len().to_string().into(),
            integration.agents.len().to_string().into(),
            integration
                .renewed_at
                .map_or_else(|| "never".into(), |time| time_format::relative(now, time))
                .into(),
        ]
    };
    let rows = integrations.iter().map(row).collect();
    output.table(
        &[
            "ID",
            "OWNER",
            "ACCOUNT",
            "KIND",
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

async fn add_permissions(args: &AddPermissionsArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    // By its id: an owner without an account, or with several, is said before anything begins.
    let request = v1::GetIntegrationRequest {
        integration: Some(args.which.reference()),
    };
    let answer = admin.get_integration(request).await.map_err(refused)?;
    let request = v1::BeginConnectRequest {
        integration_id: required(answer.into_inner().integration)?.id,
        ..v1::BeginConnectRequest::default()
    };
    consent(request, &args.consent, admin, output).await
}

async fn check(which: &Which, admin: &mut Admin, output: &mut Output) -> Outcome {
    let request = v1::CheckIntegrationRequest {
        integration: Some(which.reference()),
    };
    let answer = progress::during(output, "asking the provider", admin.check_integration(request)).await;
    let integration: Integration = required(answer.map_err(refused)?.into_inner().integration)?.into();
    describe(&integration, output)?;
    let mut capabilities = integration.capability_states.iter();
    let is_short = capabilities.any(|capability| !capability.lacking_agents.is_empty());
    let reason = match integration.state.as_str() {
        "active" if is_short => "permission_missing",
        state => state,
    };
    Ok(Exit::for_reason(reason).unwrap_or(Exit::Failed))
}

fn describe(integration: &Integration, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(integration);
    }
    let now = output.now();
    let time = |time: Option<_>| time.map(|time| time_format::both(now, time)).unwrap_or_default();
    output.fields(vec![
        ("id", integration.id.as_str().into()),
        ("kind", integration.kind.as_str().into()),
        ("owner", integration.owner.as_str().into()),
        ("account", integration.account.as_str().into()),
        ("formerly", integration.former_accounts.join(" ").into()),
        (
            "named so by",
            Text::toned(Tone::Warn, integration.agents_by_former_account.join(" ")),
        ),
        ("acts for", integration.acts_for.as_str().into()),
        ("state", Text::state(&integration.state)),
        (
            "message",
            Text::toned(Tone::of_state(&integration.state), integration.message.as_str()),
        ),
        ("fix it", integration.action_url.as_str().into()),
        ("scopes", integration.scopes.join(" ").into()),
        ("agents", integration.agents.join(" ").into()),
        ("dpop", integration.dpop.as_str().into()),
        ("connected", time(integration.connected_at).into()),
        ("renewed", time(integration.renewed_at).into()),
        ("grant ends", time(integration.grant_expires_at).into()),
    ])?;
    tables::capabilities_of_account(integration, output)
}

#[cfg(test)]
#[path = "integrations_tests.rs"]
mod tests;
