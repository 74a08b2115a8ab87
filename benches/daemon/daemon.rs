//! The daemon within this process, whole or its broker alone, on a clock that the benchmark moves: what is due
//! becomes so at one moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use token_broker::{
    app::{App, AppParts},
    broker::{AgentHandle, Broker},
    clock::{Clock, ManualClock, SystemClock, Uptime},
};
use tokio::runtime::Runtime;

use crate::{
    alone::BrokerAlone,
    folder::{Folder, Population},
    google::Google,
};

/// Brings every token that lives for an hour to within its renewal window, whatever its jitter, and none to
/// its end.
pub(crate) const UNTIL_DUE: Duration = Duration::from_secs(3100);
/// A safety net: nothing takes nearly as long.
const TOO_LONG: Duration = Duration::from_secs(60);

/// The clock, showing the time of day, to be moved by hand.
pub(crate) fn clock() -> ManualClock {
    ManualClock::new(SystemClock.now())
}

/// A daemon with accounts and agents, all supplied. Its runtime is like the program's.
pub(crate) struct Daemon {
    pub(crate) clock: ManualClock,
    pub(crate) handles: Vec<Arc<AgentHandle>>,
    pub(crate) folder: Folder,
    pub(crate) runtime: Runtime,
    running: Option<Running>,
}

/// What of the daemon runs.
enum Running {
    Whole(Box<App>),
    Broker(BrokerAlone),
}

impl Daemon {
    /// Starts one beside `google`, which shares its clock.
    pub(crate) fn start(clock: ManualClock, google: &Google, population: Population) -> Self {
        let folder = Folder::new(google.handle.base_url());
        folder.declare(population);
        Self::on(folder, clock, population.accounts, |number| google.grant(number))
    }

    /// Starts its broker, store and client alone: tokens are committed and released to nobody's files.
    pub(crate) fn without_files(clock: ManualClock, google: &Google, population: Population) -> Self {
        let folder = Folder::new(google.handle.base_url());
        folder.declare(population);
        let runtime = runtime();
        runtime.block_on(folder.connect(&clock, population.accounts, |number| google.grant(number)));
        let alone = runtime.block_on(BrokerAlone::start(&folder, &clock));
        Self {
            handles: alone.broker.agent_list.handles(),
            clock,
            folder,
            runtime,
            running: Some(Running::Broker(alone)),
        }
    }

    /// Starts one on a folder with manifests.
    pub(crate) fn on(
        folder: Folder,
        clock: ManualClock,
        accounts: usize,
        grant: impl Fn(usize) -> String,
    ) -> Self {
        let runtime = runtime();
        runtime.block_on(folder.connect(&clock, accounts, grant));
        let parts = AppParts {
            clock: Arc::new(clock.clone()),
            ..AppParts::default()
        };
        let config = folder.config();
        // On a thread of the runtime's, as everything after it.
        let starting = runtime.spawn(App::start(config, parts));
        let app = runtime
            .block_on(starting)
            .expect("it does not panic")
            .expect("the daemon starts");
        Self {
            clock,
            handles: app.broker.agent_list.handles(),
            folder,
            runtime,
            running: Some(Running::Whole(Box::new(app))),
        }
    }

    /// Where its pages are.
    pub(crate) fn http_address(&self) -> std::net::SocketAddr {
        self.app().http_address
    }

    pub(crate) fn broker(&self) -> &Arc<Broker> {
        &self.app().broker
    }

    fn app(&self) -> &App {
        match &self.running {
            Some(Running::Whole(app)) => app,
            _ => panic!("the whole daemon runs until it is dropped"),
        }
    }

    /// Makes every token due. Returns when that was.
    pub(crate) fn make_due(&self) -> Due {
        let due = Due {
            at: Instant::now(),
            since: self.clock.uptime().after(UNTIL_DUE / 2),
        };
        self.clock.advance(UNTIL_DUE);
        due
    }

    /// Waits until `agents` have tokens that were issued since then.
    pub(crate) fn wait_released(&self, due: &Due, agents: &[Arc<AgentHandle>]) -> Duration {
        for agent in agents {
            while !due.is_past(agent) {
                assert!(due.at.elapsed() < TOO_LONG, "{} has no new token", agent.name());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        due.at.elapsed()
    }

    /// True when agents have directories.
    pub(crate) fn delivers(&self) -> bool {
        matches!(self.running, Some(Running::Whole(_)))
    }

    /// Waits until that is in the agents' directories.
    pub(crate) fn wait_delivered(&self, due: &Due, agents: &[Arc<AgentHandle>]) -> Duration {
        self.runtime.block_on(async {
            for agent in agents {
                agent.delivered(agent.revision()).await;
            }
        });
        due.at.elapsed()
    }

    /// The tokens that agents have, by identity.
    pub(crate) fn token(&self, number: usize) -> String {
        let snapshot = self.handles[number].snapshot();
        snapshot
            .main()
            .token
            .as_ref()
            .map(|token| token.access_token.expose().to_owned())
            .unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        match self.running.take() {
            Some(Running::Whole(app)) => self.runtime.block_on(app.stop()),
            Some(Running::Broker(alone)) => self.runtime.block_on(alone.stop()),
            None => {}
        }
    }
}

/// A runtime like the program's.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// When tokens became due.
pub(crate) struct Due {
    pub(crate) at: Instant,
    since: Uptime,
}

impl Due {
    /// True when the agent has a token that was issued since.
    pub(crate) fn is_past(&self, agent: &AgentHandle) -> bool {
        agent
            .peek()
            .main()
            .token
            .as_ref()
            .is_some_and(|token| token.issued_at > self.since)
    }
}
