//! A connection, for one thread: who asks waits, and what speaks to the server does so meanwhile.
//!
//! It has a runtime of its own, so that a commit waits for nothing else that the daemon does.

use std::{io, ops::ControlFlow, time::Duration};

use futures_util::{StreamExt, future, pin_mut};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{
    Client, NoTls,
    types::{ToSql, Type},
};

use crate::{
    config::StoreSection,
    postgres::{engine::kind, fault::ServerFault, tls},
    sql::{Each, Fault, Sql, Value},
};

/// How long each host may take to let the broker in, and all of them together.
const CONNECT: Duration = Duration::from_secs(3);
const CONNECT_ALL: Duration = Duration::from_secs(8);
/// A server whose machine is gone is given up after about so long, whatever is waited for.
const SILENCE: Duration = Duration::from_secs(20);
/// How long the server may take to hear that the connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection to the primary.
pub(crate) struct Session {
    /// There until the session ends.
    client: Option<Client>,
    runtime: Option<Runtime>,
    speaking: Option<JoinHandle<()>>,
}

impl Session {
    /// Connects to the host that takes changes. Blocks.
    pub(crate) fn open(section: &StoreSection) -> Result<Self, Fault> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServerFault::System)?;
        let connecting = runtime.block_on(async { timeout(CONNECT_ALL, connect(section)).await });
        let connected = connecting.unwrap_or(Err(ServerFault::Silent(CONNECT_ALL.as_secs())));
        let (client, speaking) = match connected {
            Ok(connected) => connected,
            Err(fault) => {
                runtime.shutdown_background();
                return Err(fault.into());
            }
        };
        Ok(Self {
            client: Some(client),
            runtime: Some(runtime),
            speaking: Some(speaking),
        })
    }

    /// Runs statements that answer nothing.
    pub(crate) fn run(&self, statements: &str) -> Result<(), Fault> {
        let client = self.client()?;
        Ok(self.wait(client.batch_execute(statements))?)
    }

    /// Begins a transaction in which `broker` sees its own audit trail.
    pub(crate) fn begin(&self, how: &str, broker: &str) -> Result<(), Fault> {
        const SCOPE: &str = "SELECT set_config('token_broker.broker', $1, true)";
        let name: [(&(dyn ToSql + Sync), Type); 1] = [(&broker, Type::TEXT)];
        let client = self.client()?;
        // Both are on their way at once.
        self.wait(future::try_join(
            client.batch_execute(how),
            client.query_typed(SCOPE, &name),
        ))?;
        Ok(())
    }

    /// Whether the server has ended it.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.as_ref().is_none_or(Client::is_closed)
    }

    /// Waits for something, and hears of the server meanwhile. Blocks.
    pub(crate) fn wait<F: Future>(&self, what: F) -> F::Output {
        let Some(runtime) = &self.runtime else {
            unreachable!("a session has its runtime until it is dropped")
        };
        runtime.block_on(what)
    }

    fn client(&self) -> Result<&Client, ServerFault> {
        let gone = || ServerFault::System(io::Error::from(io::ErrorKind::NotConnected));
        self.client.as_ref().ok_or_else(gone)
    }

    /// Tells the server that it ends, and waits a moment for that. Blocks.
    pub(crate) fn close(mut self) {
        drop(self.client.take());
        if let Some(speaking) = self.speaking.take() {
            let _ = self.wait(async { timeout(FAREWELL, speaking).await });
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn connect(section: &StoreSection) -> Result<(Client, JoinHandle<()>), ServerFault> {
    let mut server = section.server.clone();
    server
        .application_name("token-broker")
        .connect_timeout(CONNECT)
        .tcp_user_timeout(SILENCE)
        .keepalives_idle(SILENCE / 2)
        .keepalives_interval(SILENCE / 4)
        .keepalives_retries(2);
    if let Some(password) = section.password()? {
        server.password(password.as_bytes());
    }
    if section.tls {
        let (client, connection) = server.connect(tls::connector(section)?).await?;
        Ok((client, tokio::spawn(speak(connection))))
    } else {
        let (client, connection) = server.connect(NoTls).await?;
        Ok((client, tokio::spawn(speak(connection))))
    }
}

/// Its end is heard of by who asks next.
async fn speak(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    let _ = connection.await;
}

/// Statements number their values as `SQLite` does.
fn numbered(statement: &str) -> String {
    statement.replace('?', "$")
}

fn typed<'a>(values: &'a [Value<'a>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let typed = values
        .iter()
        .map(|value| (value as &(dyn ToSql + Sync), kind(value)));
    typed.collect()
}

impl Sql for Session {
    fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let client = self.client()?;
        Ok(self.wait(client.execute_typed(&numbered(statement), &typed(values)))?)
    }

    fn each(&self, statement: &str, values: &[Value<'_>], each: Each<'_>) -> Result<(), Fault> {
        let client = self.client()?;
        let values = values.iter().map(|value| (*value, kind(value)));
        self.wait(async {
            let rows = client.query_typed_raw(&numbered(statement), values).await?;
            pin_mut!(rows);
            while let Some(row) = rows.next().await {
                if each(&row?)? == ControlFlow::Break(()) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn each_once(&self, statement: &str, values: &[Value<'_>], each: Each<'_>) -> Result<(), Fault> {
        self.each(statement, values, each)
    }
}
