//! The ports where Google's own client libraries ask, and where sidecars and platforms on other machines do.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use jiff::Timestamp;

use super::{agents, daemon::Seen, finding::Finding};
use crate::{
    address::from_here,
    admin_api::AdminListener,
    config::{AdminSection, Config, ConfigError, RemoteSection},
    net::tls_files::Checked,
    pod_api::RemoteListener,
    text::ShowPath,
};

/// How long a port may take to be reached: it is on this machine.
const REACH: Duration = Duration::from_secs(2);

/// Looks at `[adc]`, `[metadata]`, `[remote]` and `[admin]`, where they are configured.
pub(super) fn check(config: &Config, seen: &Seen, now: Timestamp) -> Vec<Finding> {
    let adc = config.adc.as_ref().map(|section| section.listen);
    let metadata = config.metadata.port.as_ref();
    let ports = [
        ("adc.listen", adc),
        ("metadata.listen", metadata.map(|port| port.listen)),
        (
            "remote.listen",
            config.remote.as_ref().map(|section| section.listen),
        ),
        (
            "admin.listen",
            config.admin.as_ref().map(|section| section.listen),
        ),
    ];
    let is_running = seen.agents.is_some();
    let mut findings: Vec<Finding> = ports
        .into_iter()
        .filter_map(|(key, listen)| Some(check_port(key, listen?, is_running)))
        .collect();
    findings.extend(metadata.map(|port| check_agent(port.agent.as_str(), config, seen)));
    findings.extend(config.remote.as_ref().map(|section| of_remote(section, now)));
    findings.extend(config.admin.as_ref().map(|section| of_admin(section, now)));
    findings
}

fn of_remote(section: &RemoteSection, now: Timestamp) -> Finding {
    let checked = RemoteListener::check(section, now);
    judge("remote.certificate_file", &section.certificate_file, checked)
}

fn of_admin(section: &AdminSection, now: Timestamp) -> Finding {
    let checked = AdminListener::check(section, now);
    judge("admin.certificate_file", &section.certificate_file, checked)
}

fn judge(check: &'static str, certificate: &Path, checked: Result<Checked, ConfigError>) -> Finding {
    match checked {
        Ok(checked) => match checked.trouble {
            Some(trouble) if checked.is_refused => Finding::fail(check, trouble, ""),
            Some(trouble) => Finding::warn(check, trouble, ""),
            None => {
                let file = certificate.shown();
                Finding::ok(check, format!("{file} and its key can be served"))
            }
        },
        Err(error) => Finding::fail(check, error.to_string(), "put right what it names"),
    }
}

fn check_port(check: &'static str, listen: SocketAddr, is_running: bool) -> Finding {
    if listen.port() == 0 {
        let advice = "set a port: agents have to know it";
        return Finding::warn(
            check,
            format!("{listen} is another port after each start"),
            advice,
        );
    }
    if is_running {
        return match TcpStream::connect_timeout(&from_here(listen), REACH) {
            Ok(_) => Finding::ok(check, format!("{listen} can be reached")),
            Err(error) => Finding::fail(
                check,
                format!("the daemon runs, and {listen} cannot be reached: {error}"),
                "restart the daemon after a change of this key",
            ),
        };
    }
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok(check, format!("{listen} is free")),
        Err(error) => {
            let advice = match error.kind() {
                ErrorKind::AddrInUse => "stop what listens there, or take another port",
                ErrorKind::AddrNotAvailable => "use an address that this machine has",
                ErrorKind::PermissionDenied => "take a port from 1024 on",
                _ => "",
            };
            Finding::fail(check, format!("{listen} cannot be bound: {error}"), advice)
        }
    }
}

fn check_agent(agent: &str, config: &Config, seen: &Seen) -> Finding {
    const CHECK: &str = "metadata.agent";
    let known = match &seen.agents {
        Some(agents) => agents.iter().any(|known| known.spec.agent == agent),
        None => agents::manifests(config, seen.daemons_user(config))
            .0
            .manifests
            .keys()
            .any(|known| known.as_str() == agent),
    };
    if known {
        return Finding::ok(CHECK, format!("there is an agent {agent}"));
    }
    let message = format!("there is no agent {agent}, so its metadata server has no token to give");
    let advice = "correct the name, or add the agent's manifest";
    if seen.agents.is_some() {
        Finding::fail(CHECK, message, advice)
    } else {
        // Those that came over the API are known to the daemon alone.
        Finding::warn(CHECK, message, advice)
    }
}
