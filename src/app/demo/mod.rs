//! `token-broker demo`: an emulated Google, a daemon, a connected account and two agents, in a temporary
//! folder that is gone afterwards.

mod stage;
mod view;
mod visitor;

use std::{collections::HashMap, time::Duration};

use tokio::sync::broadcast::error::RecvError;

use crate::{
    broker::{Event, EventKind},
    cli::{DemoArgs, Global, Outcome},
    id::AgentName,
    lifecycle::{self, Signals, Wish},
    telemetry::log,
};

use stage::Stage;
use view::View;

/// Runs the demo until Ctrl-C, or through one renewal.
pub(super) fn run(_: &Global, args: DemoArgs) -> Outcome {
    super::runtime::block_on(demo(args))
}

async fn demo(args: DemoArgs) -> anyhow::Result<()> {
    let _log = log::init(false, "warn").map_err(anyhow::Error::msg)?;
    lifecycle::harden()?;
    let mut signals = Signals::listen()?;
    let stage = tokio::select! {
        stage = Stage::set(args.token_lifetime) => stage?,
        _ = signals.next() => return Ok(()),
    };
    let mut view = View::new(&stage)?;
    let shown = tokio::select! {
        shown = show(&stage, &mut view, args.once) => shown,
        () = stop(&mut signals) => Ok(()),
    };
    view.end(args.once)?;
    stage.clear().await;
    shown
}

async fn stop(signals: &mut Signals) {
    while signals.next().await != Wish::Stop {}
}

/// Shows what happens; with `once`, until every agent's token was renewed once.
async fn show(stage: &Stage, view: &mut View, once: bool) -> anyhow::Result<()> {
    let mut events = stage.app.broker.events();
    view.opening(stage)?;
    stage.connect().await?;
    let mut deliveries: HashMap<AgentName, u32> = HashMap::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        let event = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => event,
                // Missed lines of a show are no loss.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = tick.tick() => {
                view.countdown(stage)?;
                continue;
            }
        };
        view.event(&event)?;
        if let Some(agent) = delivered(&event) {
            view.powers(stage, &agent).await?;
            *deliveries.entry(agent).or_default() += 1;
        }
        if once && deliveries.len() == stage::AGENTS.len() && deliveries.values().all(|count| *count >= 2) {
            return Ok(());
        }
    }
}

/// The agent whose files hold a new token now.
fn delivered(event: &Event) -> Option<AgentName> {
    (event.kind == EventKind::AgentDelivered && event.expires_at.is_some())
        .then(|| event.agent.clone())
        .flatten()
}
