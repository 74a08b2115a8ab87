//! Runs the command as a child: passes signals on, reaps what is left behind, and does on renewals what was asked.

use std::{ffi::OsString, time::Duration};

use rustix::process::Signal;
use tokio::{sync::mpsc, time::Instant};

use super::{
    child::Child,
    echo::Echoes,
    on_renewal::OnRenewal,
    renewals::{self, News},
    signals::{self, Arrived, Signals},
};
use crate::client::{
    agent::AgentSocket,
    environment::Environment,
    exit::{Exit, Failure, Outcome},
};

/// How often to look whether all is gone that a restart waits for: grandchildren announce their end to others.
const LOOK: Duration = Duration::from_millis(50);

/// What was asked of `exec`.
pub(crate) struct Orders<'a> {
    pub(crate) command: &'a [OsString],
    pub(crate) on_renewal: OnRenewal,
    /// How long a command that is restarted may take to end.
    pub(crate) grace: Duration,
    /// What tells Google's libraries where to ask.
    pub(crate) for_libraries: Vec<(&'static str, String)>,
}

/// Runs the command with these variables to its end.
pub(crate) async fn supervise(
    orders: Orders<'_>,
    signals: Signals,
    socket: &AgentSocket,
    variables: Environment,
    say: impl FnMut(&str),
) -> Outcome {
    let wants_news = orders.on_renewal != OnRenewal::Nothing;
    let news = wants_news.then(|| renewals::watch(socket.clone(), &variables));
    let child = Child::start(orders.command, &variables, &orders.for_libraries)?;
    let supervisor = Supervisor {
        orders,
        say,
        signals,
        news,
        variables,
        child,
        told_to_end: false,
        ends: Echoes::default(),
        stopping: None,
    };
    supervisor.run().await
}

struct Supervisor<'a, S> {
    orders: Orders<'a>,
    /// Tells people what is done.
    say: S,
    signals: Signals,
    /// What becomes of the token, where that matters.
    news: Option<mpsc::Receiver<News>>,
    /// What the next start gets.
    variables: Environment,
    child: Child,
    /// The command was asked to end by somebody else: it is not started again.
    told_to_end: bool,
    ends: Echoes<Signal>,
    /// A restart waits for the old command's end: when to kill it.
    stopping: Option<Instant>,
}

enum Event {
    Signal(Arrived),
    News(News),
    /// While a restart waits: time to look.
    Look,
}

impl<S: FnMut(&str)> Supervisor<'_, S> {
    async fn run(mut self) -> Outcome {
        loop {
            match self.next().await {
                Event::Signal(arrived) if arrived.signal == Signal::CHILD => self.child.reap(),
                Event::Signal(arrived) => self.pass_on(arrived),
                Event::News(News::Token(variables)) => self.renewed(variables),
                Event::News(News::Trouble(failure)) => self.say_trouble(&failure),
                Event::Look => {}
            }
            if let Some(exit) = self.after()? {
                return Ok(exit);
            }
        }
    }

    async fn next(&mut self) -> Event {
        let news = async {
            match &mut self.news {
                Some(news) => news.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            arrived = self.signals.next() => Event::Signal(arrived),
            Some(news) = news => Event::News(news),
            () = tokio::time::sleep(LOOK), if self.stopping.is_some() => Event::Look,
        }
    }

    fn pass_on(&mut self, arrived: Arrived) {
        if arrived.asks_to_end() && self.ends.is_echo(arrived.signal, Instant::now()) {
            // To the command, a second one may mean that nobody waits for what it has under way.
            return;
        }
        self.told_to_end |= arrived.asks_to_end();
        if !(arrived.from_kernel && self.child.shares_the_terminal()) {
            self.child.signal(arrived.signal);
        }
    }

    fn renewed(&mut self, variables: Environment) {
        self.variables = variables;
        match self.orders.on_renewal {
            OnRenewal::Nothing => {}
            OnRenewal::Signal(signal) => {
                (self.say)(&format!(
                    "the token was renewed: the command gets {}",
                    signals::name(signal)
                ));
                self.child.signal(signal);
            }
            OnRenewal::Restart if self.told_to_end || self.stopping.is_some() => {}
            OnRenewal::Restart => {
                (self.say)("the token was renewed: the command is started anew");
                self.child.signal_all(Signal::TERM);
                self.stopping = Some(Instant::now() + self.orders.grace);
            }
        }
    }

    /// What follows from how the command is now; the exit when all is done.
    fn after(&mut self) -> Result<Option<Exit>, Failure> {
        let Some(deadline) = self.stopping else {
            return Ok(self.child.ended().map(Exit::OfCommand));
        };
        if self.told_to_end {
            // No restart any more: the one who asked waits for the end as always.
            self.stopping = None;
            return Ok(self.child.ended().map(Exit::OfCommand));
        }
        if self.child.is_gone() {
            self.stopping = None;
            self.child = Child::start(self.orders.command, &self.variables, &self.orders.for_libraries)?;
        } else if Instant::now() >= deadline {
            self.child.signal_all(Signal::KILL);
        }
        Ok(None)
    }

    fn say_trouble(&mut self, failure: &Failure) {
        let doing = "the command goes on with the token it has";
        (self.say)(&format!("{}: {doing}", failure.message));
        if let Some(url) = &failure.action_url {
            (self.say)(&format!("fix it here: {url}"));
        }
    }
}
