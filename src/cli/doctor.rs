//! `doctor`: its arguments, and how what was found is shown.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    connections,
    options::{AgentArgs, Global},
    output::Output,
    progress, settings,
    style::Tone,
};
use crate::{
    client::{
        agent::DEFAULT_SOCKET,
        exit::{Exit, Failure, Outcome},
    },
    config,
    doctor::{self, Finding, Node, Verdict},
    text::one_line,
};

const EXAMPLES: &str = "\
Examples:
  token-broker doctor
  token-broker doctor --agent invoice-bot
  token-broker doctor --offline --output json | jq '.checks[] | select(.verdict != \"ok\")'

On the node, run it as the daemon's user, or as root. In an agent's container, or with --agent, it looks at what that \
agent sees. With --server it asks that broker how it is, and looks at nothing else. Exits with 1 when something has to be repaired.";

/// Find the usual mistakes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Leave the provider's endpoints and the Kubernetes API alone
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Runs `doctor`.
pub(super) async fn run(args: &DoctorArgs, global: &Global, output: &mut Output) -> Outcome {
    let clock = output.clock();
    let findings = if let Some(server) = global.remote()? {
        let opened = connections::admin(global, output).await;
        doctor::examine_server(opened, &server.certificate, output.now()).await
    } else if let Some(socket) = agents_socket(&args.agent, global)? {
        doctor::examine_agent(&socket, &clock).await
    } else {
        let node = Node {
            config: global.config.as_deref(),
            admin_socket: global.admin_socket.as_deref(),
            is_offline: args.offline,
        };
        progress::during(output, "looking around", Box::pin(doctor::examine(&node, &clock))).await
    };
    report(&findings, output)?;
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

/// The agent's socket, where this is an agent's place and not the node: where one is named, or there is an agent's
/// directory and nothing of the daemon's.
fn agents_socket(args: &AgentArgs, global: &Global) -> Result<Option<PathBuf>, Failure> {
    if let Some(named) = args.named(global)? {
        return Ok(Some(named));
    }
    let default = PathBuf::from(DEFAULT_SOCKET);
    let is_here = default.exists() || default.with_file_name("env").exists();
    let managed = global.config.is_some()
        || global.admin_socket.is_some()
        || settings::admin_socket(global).is_ok_and(|socket| socket.exists())
        || Path::new(config::DEFAULT_FILE).exists();
    Ok((is_here && !managed).then_some(default))
}

fn report(findings: &[Finding], output: &mut Output) -> Result<(), Failure> {
    let count = |verdict| {
        findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    let (warnings, failures) = (count(Verdict::Warn), count(Verdict::Fail));
    if output.is_json() {
        return output.json(&serde_json::json!({
            "ok": failures == 0,
            "warnings": warnings,
            "failures": failures,
            "checks": findings,
        }));
    }
    for finding in findings {
        let (word, tone) = match finding.verdict {
            Verdict::Ok => ("ok  ", Tone::Plain),
            Verdict::Warn => ("warn", Tone::Warn),
            Verdict::Fail => ("FAIL", Tone::Bad),
        };
        // A line each, whatever the names are that it repeats.
        let (message, advice) = (one_line(&finding.message, &[]), one_line(&finding.advice, &[]));
        output.toned(tone, &format!("{word}  {}: {message}", finding.check))?;
        if !advice.is_empty() {
            output.line(&format!("      -> {advice}"))?;
        }
    }
    let summary = match (failures, warnings) {
        (0, 0) => (Tone::Good, "Everything looks right.".to_owned()),
        (0, _) => (Tone::Warn, format!("It should work; {warnings} worth a look.")),
        _ => (
            Tone::Bad,
            format!("{failures} to repair, {warnings} worth a look."),
        ),
    };
    output.line("")?;
    output.toned(summary.0, &summary.1)
}

#[cfg(test)]
mod tests {
    use super::{super::output::Format, *};

    #[test]
    fn the_report_is_text_or_json() {
        let found = [
            Finding::ok("a", "fine"),
            Finding::fail("b", "broken", "repair it"),
        ];
        let (mut output, out, _) = Output::captured(Format::Text);
        report(&found, &mut output).unwrap();
        assert_eq!(
            out.text(),
            "ok    a: fine\nFAIL  b: broken\n      -> repair it\n\n1 to repair, 0 worth a look.\n"
        );
        let (mut output, out, _) = Output::captured(Format::Json);
        report(&found, &mut output).unwrap();
        let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(
            (&value["ok"], &value["checks"][1]["advice"]),
            (&false.into(), &"repair it".into())
        );
    }
}
