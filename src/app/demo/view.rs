//! What the demo prints: one line for each thing that happens, and on a terminal a countdown below them.

use std::{
    collections::HashMap,
    io::{self, IsTerminal, Write},
};

use hyper::StatusCode;

use super::stage::{AGENTS, Stage};
use crate::{
    broker::{AgentState, Event, EventKind},
    clock,
    id::AgentName,
};

const MAIL: &str = r#"{"raw":"VG86IGJvYkBleGFtcGxlLmNvbQ0KU3ViamVjdDogSGVsbG8NCg0KSGVsbG8h"}"#;

/// The view.
pub(super) struct View {
    out: io::Stdout,
    terminal: bool,
    renewals: HashMap<AgentName, u32>,
}

impl View {
    pub(super) fn new(stage: &Stage) -> io::Result<Self> {
        let out = io::stdout();
        let terminal = out.is_terminal();
        let mut view = Self {
            out,
            terminal,
            renewals: HashMap::new(),
        };
        view.line(&format!(
            "Everything below runs in {} and is gone afterwards.",
            stage.folder().display()
        ))?;
        Ok(view)
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        let mut out = self.out.lock();
        if self.terminal {
            // Over the countdown.
            write!(out, "\r\x1b[K")?;
        }
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// What runs, and what to try.
    pub(super) fn opening(&mut self, stage: &Stage) -> io::Result<()> {
        let program =
            std::env::current_exe().map_or_else(|_| "token-broker".to_owned(), |p| p.display().to_string());
        let config = stage.config_file.display();
        let directory = stage.agent_directory(AGENTS[0].0);
        let directory = directory.display();
        let lines = [
            format!("Google, emulated   {}", stage.google.base_url()),
            format!("Daemon             http://{}", stage.app.http_address),
            format!("Agents             {}", AGENTS.map(|(name, _)| name).join(", ")),
            String::new(),
            "Try these in a second terminal:".to_owned(),
            format!("  watch -n1 cat {directory}/env"),
            format!("  curl --unix-socket {directory}/broker.sock http://localhost/v1/token"),
            format!("  {program} --config {config} console"),
            format!("  {program} --config {config} agents list"),
            format!("  {program} --config {config} integrations disconnect --owner alice --yes"),
            format!("  {program} --config {config} connect --owner alice --capability google.gmail.send"),
            format!("  {program} --config {config} audit list"),
            String::new(),
        ];
        for line in lines {
            self.line(&line)?;
        }
        Ok(())
    }

    /// One thing that happened.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        let time = clock::rfc3339(event.time);
        let time = &time[11..19];
        let agent = event.agent.as_ref().map(AgentName::as_str).unwrap_or_default();
        let keys: Vec<&str> = event
            .capabilities
            .iter()
            .map(crate::id::CapabilityKey::as_str)
            .collect();
        let life = event
            .expires_at
            .and_then(|end| clock::remaining(event.time, end))
            .unwrap_or_default()
            .as_secs();
        match event.kind {
            EventKind::IntegrationConnected => self.line(&format!("{time}  connected  {}", event.message)),
            EventKind::IntegrationDisconnected => self.line(&format!("{time}  parted     {}", event.message)),
            EventKind::TokenRenewed => self.line(&format!(
                "{time}  renewed    a token for {}, good for {life} s",
                keys.join(" and ")
            )),
            EventKind::RenewalFailed => self.line(&format!("{time}  failed     {}", event.message)),
            EventKind::AgentState => {
                let state = event.state.map(AgentState::as_str).unwrap_or_default();
                let why = if event.message.is_empty() {
                    String::new()
                } else {
                    format!(": {}", event.message)
                };
                self.line(&format!("{time}  state      {agent} is {state}{why}"))
            }
            EventKind::AgentDelivered if event.expires_at.is_some() => {
                let count = event.agent.clone().map(|name| {
                    let count = self.renewals.entry(name).or_default();
                    *count += 1;
                    *count
                });
                let what = if count == Some(1) {
                    "first token"
                } else {
                    "renewal"
                };
                self.line(&format!(
                    "{time}  written    {agent}/env: {what}, good for {life} s"
                ))
            }
            _ => Ok(()),
        }
    }

    /// What an agent's token may do, tried on the emulated APIs.
    pub(super) async fn powers(&mut self, stage: &Stage, agent: &AgentName) -> anyhow::Result<()> {
        let view = stage.app.broker.agent_list.agent(agent);
        let Some(token) = view.and_then(|view| view.snapshot.main().token.clone()) else {
            return Ok(());
        };
        let base = stage.google.base_url();
        let token = &token.access_token;
        let mail = stage
            .visitor
            .call(
                &format!("{base}/gmail/v1/users/me/messages/send"),
                token,
                Some(MAIL),
            )
            .await?;
        let events = stage
            .visitor
            .call(
                &format!("{base}/calendar/v3/calendars/primary/events"),
                token,
                None,
            )
            .await?;
        let tried = format!(
            "                     {agent}: send an e-mail {}, list events {}",
            verdict(mail),
            verdict(events)
        );
        Ok(self.line(&tried)?)
    }

    /// How long each token still lives; on a terminal only.
    pub(super) fn countdown(&mut self, stage: &Stage) -> io::Result<()> {
        if !self.terminal {
            return Ok(());
        }
        let now = stage.app.broker.moment();
        let left = |name: &str| {
            let view = name
                .parse()
                .ok()
                .and_then(|name| stage.app.broker.agent_list.agent(&name))?;
            let seconds = view
                .snapshot
                .main()
                .token
                .as_ref()?
                .remaining(now.uptime)?
                .as_secs();
            let next = clock::remaining(now.wall, view.next_renewal?)
                .unwrap_or_default()
                .as_secs();
            Some(format!("{name}: {seconds} s left, renewed in {next} s"))
        };
        let parts: Vec<String> = AGENTS.iter().filter_map(|(name, _)| left(name)).collect();
        let mut out = self.out.lock();
        write!(out, "\r\x1b[K{}   (Ctrl-C ends)", parts.join("   "))?;
        out.flush()
    }

    /// The last line.
    pub(super) fn end(&mut self, once: bool) -> io::Result<()> {
        self.line(if once {
            "Each agent's token was renewed once: done."
        } else {
            "Done; nothing is left behind."
        })
    }
}

fn verdict(status: StatusCode) -> String {
    if status.is_success() {
        format!("yes ({})", status.as_u16())
    } else {
        format!("no ({})", status.as_u16())
    }
}
