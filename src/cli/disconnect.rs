//! `integrations disconnect`: an account is let go.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    json::{self, Integration},
    options::Which,
    output::Output,
    progress,
    prompt::confirm,
    style::Tone,
};
use crate::{
    client::{
        admin::{Admin, refused, required},
        exit::{Exit, Failure, Outcome},
    },
    proto::v1,
};

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

// How to disconnect an account.
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

#[derive(Serialize)]
struct Disconnected {
    integration: json::Integration,
    agents: Vec<String>,
    revoked: bool,
    dry_run: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    problem: String,
}

/// Runs `integrations disconnect`.
pub(super) async fn disconnect(args: &DisconnectArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let request = v1::DisconnectRequest {
        integration: Some(args.which.reference()),
        revocation: v1::Revocation::from(args.revoke).into(),
        dry_run: true,
    };
    let plan = disconnect_account(request.clone(), admin, output).await?;
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
    let done = disconnect_account(
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

impl Disconnected {
    /// There is a record that is not used, and no account.
    fn is_record(&self) -> bool {
        self.integration.owner.is_empty()
    }
}

fn ask(plan: &Disconnected, output: &mut Output) -> Result<(), Failure> {
    if plan.is_record() {
        output.note(&plan.integration.message);
        return confirm(output, "Remove the record?");
    }
    let agents = match plan.agents.as_slice() {
        [] => "No agent uses it.".to_owned(),
        agents => format!("These agents lose access: {}.", agents.join(", ")),
    };
    let Integration {
        account,
        owner,
        id,
        provider_name,
        ..
    } = &plan.integration;
    output.note(&format!("{account} of {owner} ({id}). {agents}"));
    let revoke = if plan.revoked {
        format!(" and revoke it at {provider_name}")
    } else {
        String::new()
    };
    confirm(output, &format!("Disconnect it{revoke}?"))
}

async fn disconnect_account(
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
        account,
        owner,
        id,
        message,
        ..
    } = &done.integration;
    if done.is_record() {
        let verb = if done.dry_run { "Would remove" } else { "Removed" };
        output.line(&format!("{verb} the record {id}, which was not used"))?;
        return output.line(&format!("  {message}"));
    }
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
    let page = &done.integration.connections_url;
    let revocation = match (done.dry_run, done.revoked, done.problem.is_empty()) {
        _ if done.integration.keyed => {
            format!("none; the key lives on there until it is deleted{}", at(page))
        }
        (true, true, _) => "would be asked for".to_owned(),
        (true, false, _) => "would not be asked for".to_owned(),
        (false, true, _) => "confirmed".to_owned(),
        (false, false, false) => "not confirmed".to_owned(),
        (false, false, true) => format!("not asked for; the person can see to it{}", at(page)),
    };
    let provider = &done.integration.provider_name;
    output.line(&format!("  revocation at {provider}: {revocation}"))?;
    if !done.problem.is_empty() {
        output.toned(Tone::Warn, &format!("  not done: {}", done.problem))?;
    }
    Ok(())
}

/// Where something can be done, where that is known.
fn at(page: &str) -> String {
    if page.is_empty() {
        String::new()
    } else {
        format!(" at {page}")
    }
}
