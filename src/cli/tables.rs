//! The tables that more than one command shows: agents, and capabilities.

use std::collections::BTreeMap;

use super::{
    json::{Agent, Integration, IntegrationCapability},
    output::Output,
    style::{Text, Tone, or_dash},
};
use crate::{
    client::{agent_status::Capability, exit::Failure},
    text::time_format,
};

/// Addresses of accounts by their providers, in one line.
pub(super) fn accounts(accounts: &BTreeMap<String, String>) -> String {
    let one = |(provider, address): (&String, &String)| format!("{provider}: {address}");
    accounts.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The account that an agent uses, where there is room for one: a person's, before a service account's, before others.
fn account(agent: &Agent) -> String {
    let own = [&agent.account, &agent.service_account];
    let own = own.into_iter().find(|address| !address.is_empty());
    own.cloned()
        .unwrap_or_else(|| or_dash(&accounts(&agent.accounts)).to_owned())
}

/// A row for each agent, then a sentence for each one that has something to say.
pub(super) fn agents(agents: &[Agent], output: &mut Output) -> Result<(), Failure> {
    let now = output.now();
    let row = |agent: &Agent| {
        vec![
            Text::from(agent.agent.as_str()),
            agent.owner.as_str().into(),
            agent.standing(),
            account(agent).into(),
            agent.coverage().into(),
            agent
                .expires_at
                .map_or_else(|| "-".to_owned(), |time| time_format::relative(now, time))
                .into(),
        ]
    };
    let rows = agents.iter().map(row).collect();
    output.table(
        &["AGENT", "OWNER", "STATE", "ACCOUNT", "GRANTED", "EXPIRES"],
        rows,
    )?;
    for agent in agents {
        output.remark(&agent.agent, &agent.message, &agent.action_url)?;
        if !agent.delivery_problem.is_empty() {
            let problem = format!("its files are not up to date: {}", agent.delivery_problem);
            output.remark(&agent.agent, &problem, "")?;
        }
    }
    Ok(())
}

/// A row for each, after an empty line; nothing when there is none.
pub(super) fn capabilities(capabilities: &[Capability], output: &mut Output) -> Result<(), Failure> {
    if capabilities.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let rows = capabilities.iter().map(capability).collect();
    output.table(&["CAPABILITY", "STANDING", "THROUGH", "WHAT FOR"], rows)
}

fn capability(declared: &Capability) -> Vec<Text> {
    let (tone, standing) = match (declared.granted, declared.optional) {
        (true, _) => (Tone::Good, declared.state.clone()),
        (false, true) => (Tone::Warn, format!("{} (optional)", declared.state)),
        (false, false) => (Tone::Bad, declared.state.clone()),
    };
    vec![
        declared.key.as_str().into(),
        Text::toned(tone, standing),
        or_dash(&declared.satisfied_by).into(),
        declared.description.as_str().into(),
    ]
}

/// A row for each, after an empty line; nothing when there is none.
pub(super) fn capabilities_of_account(integration: &Integration, output: &mut Output) -> Result<(), Failure> {
    let capabilities = &integration.capability_states;
    if capabilities.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let rows = capabilities.iter().map(capability_of_account).collect();
    output.table(&["CAPABILITY", "STANDING", "THROUGH", "AGENTS"], rows)?;
    let lacking: Vec<String> = capabilities
        .iter()
        .filter_map(|capability| shortage(capability, &integration.provider_name))
        .collect();
    if !lacking.is_empty() {
        output.line("")?;
    }
    lacking.iter().try_for_each(|line| output.toned(Tone::Warn, line))
}

/// Which agents have a token that does not carry it although it was granted, in a sentence.
fn shortage(capability: &IntegrationCapability, provider: &str) -> Option<String> {
    let agents = match capability.lacking_agents.as_slice() {
        [] => return None,
        [one] => format!("The token of {one} does"),
        several => format!("The tokens of {} do", several.join(", ")),
    };
    Some(format!(
        "{agents} not carry {}, although it was granted: {provider} gave less than was asked for, and is asked again every few \
         minutes.",
        capability.key
    ))
}

fn capability_of_account(capability: &IntegrationCapability) -> Vec<Text> {
    let tone = match capability.state.as_str() {
        "granted" | "satisfied" => Tone::Good,
        _ => Tone::Warn,
    };
    vec![
        capability.key.as_str().into(),
        Text::toned(tone, capability.state.as_str()),
        or_dash(&capability.satisfied_by).into(),
        or_dash(&capability.agents.join(" ")).into(),
    ]
}
