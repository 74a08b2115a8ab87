//! `integrations import`: a grant that a platform holds already is handed to the broker.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{json::Integration, output::Output, progress, secret_input};
use crate::{
    client::{
        admin::{Admin, refused, required},
        exit::{Exit, Outcome},
    },
    id::{OwnerId, ProviderId},
    proto::v1,
};

const EXAMPLES: &str = "\
Examples:
  token-broker integrations import --owner alice --from authorized_user.json
  platform-secrets get alice/refresh-token | token-broker integrations import --owner alice

Takes a refresh token by itself, or a JSON file of type `authorized_user` that holds one. It is tried at the \
provider first: it has to belong to the OAuth client that this daemon is configured for, to hold the scope `openid` (which says whose it \
is; with `email` the address is shown too), and to cover a capability. Otherwise nothing is stored. On a connected \
account it takes the place of the grant that is there, if it covers as much.";

// The grant, and whose it is to be.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportArgs {
    /// Whose account it is to be, as the platform names them
    #[arg(long)]
    owner: OwnerId,
    /// Where the grant is; `-` for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    from: PathBuf,
    /// Which of the owner's accounts: an address, or `new` for another one; needed where there are several
    #[arg(long, value_name = "ADDRESS|new")]
    account: Option<String>,
    /// Whose grant it is: google, or the id of one of the configuration's providers; needed where there are several
    #[arg(long, value_name = "PROVIDER")]
    integration: Option<ProviderId>,
}

#[derive(Serialize)]
struct Imported {
    #[serde(flatten)]
    integration: Integration,
    replaced: bool,
}

/// Runs `integrations import`.
pub(super) async fn import(args: &ImportArgs, admin: &mut Admin, output: &mut Output) -> Outcome {
    let request = v1::ImportIntegrationRequest {
        owner: args.owner.to_string(),
        grant: secret_input::read(&args.from)?.to_string(),
        account: args.account.clone().unwrap_or_default(),
        integration: args
            .integration
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    let answer = progress::during(output, "trying the grant", admin.import_integration(request)).await;
    let answer = answer.map_err(refused)?.into_inner();
    let imported = Imported {
        integration: required(answer.integration)?.into(),
        replaced: answer.replaced,
    };
    if output.is_json() {
        output.json(&imported)?;
        return Ok(Exit::Ok);
    }
    let Integration {
        account,
        owner,
        id,
        capabilities,
        dpop,
        ..
    } = &imported.integration;
    let did = if imported.replaced {
        "Replaced the grant of"
    } else {
        "Imported"
    };
    output.line(&format!("{did} {account} for {owner} ({id})"))?;
    output.line(&format!("  granted: {}", capabilities.join(", ")))?;
    if !dpop.is_empty() {
        output.line(&format!("  dpop: {dpop}"))?;
    }
    output.note("The broker renews it from now on: let nobody else use this refresh token.");
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{
        super::{
            connections,
            output::Format,
            testing::{FakeAdmin, parse},
        },
        *,
    };

    #[tokio::test]
    async fn the_grant_goes_over_the_socket_and_the_account_comes_back() {
        let server = FakeAdmin::default().serve().await;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"1//canary\n").unwrap();
        let path = file.path().to_str().unwrap();
        let (mut output, out, _) = Output::captured(Format::Text);
        let mut admin = connections::admin(&server.global(), &mut output).await.unwrap();
        let args = parse::<ImportArgs>(&["--owner", "alice", "--account", "new", "--from", path]);
        assert_eq!(import(&args, &mut admin, &mut output).await, Ok(Exit::Ok));
        assert_eq!(
            out.text(),
            "Imported alice@example.com for alice (int_00000000000000000001)\n  \
             granted: google.gmail.send, google.calendar.readonly\n  dpop: bound\n"
        );
        assert_eq!(server.calls(), ["import alice new 1//canary\n"]);
    }
}
