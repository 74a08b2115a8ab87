//! What the demo runs: everything real, in one temporary folder.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use google_emulator::{AutoApprove, Emulator, Handle, Options};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::visitor::Visitor;
use crate::{
    app::{App, AppParts, google_emulator::of_this_program},
    broker::ConnectTarget,
    config::{self, Config},
    entropy::{SharedEntropy, SystemEntropy},
    vault,
};

/// The agents: a name and a manifest each.
pub(super) const AGENTS: [(&str, &str); 2] = [
    (
        "invoice-bot",
        "agent: invoice-bot
owner: alice
integrations:
  - key: google.gmail.send
    description: Send order confirmations
  - key: google.calendar.readonly
    description: Check your availability
    optional: true
",
    ),
    (
        "calendar-bot",
        "agent: calendar-bot
owner: alice
integrations:
  - key: google.calendar.readonly
    description: Summarize the week
",
    ),
];

const OWNER: &str = "alice";
const CAPABILITIES: [&str; 2] = ["google.gmail.send", "google.calendar.readonly"];

/// The stage.
pub(super) struct Stage {
    pub(super) app: App,
    pub(super) google: Handle,
    pub(super) visitor: Visitor,
    pub(super) config_file: PathBuf,
    folder: TempDir,
    emulating: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Stage {
    /// Starts an emulator and a daemon.
    pub(super) async fn set(token_lifetime: Duration) -> anyhow::Result<Self> {
        let folder = temporary_folder()?;
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            control: ([127, 0, 0, 1], 0).into(),
            token_lifetime,
            ..of_this_program(Options::default())
        };
        let client = (options.client_id.clone(), options.client_secret.clone());
        let emulator = Emulator::bind(options).await?;
        let google = emulator.handle();
        let shutdown = CancellationToken::new();
        let emulating = tokio::spawn(emulator.serve(shutdown.clone().cancelled_owned()));

        let config_file = write_config(folder.path(), &client.0, &client.1, google.base_url())?;
        let config = Config::load(Some(&config_file), std::iter::empty())?;
        let app = App::start(config, AppParts::default()).await?;
        Ok(Self {
            app,
            google,
            visitor: Visitor::new(),
            config_file,
            folder,
            emulating,
            shutdown,
        })
    }

    /// Where all of it is.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An agent's directory.
    pub(super) fn agent_directory(&self, agent: &str) -> PathBuf {
        self.folder.path().join("run/agents").join(agent)
    }

    /// Alice connects her account: the demo plays her browser. Consents after this one show Google's page.
    pub(super) async fn connect(&self) -> anyhow::Result<()> {
        let owner = ConnectTarget::Owner(OWNER.parse()?);
        let started = self
            .app
            .broker
            .connect
            .begin_connect(&owner, &CAPABILITIES.map(str::to_owned), None)
            .await?;
        self.google.set_auto_approve(Some(AutoApprove::default()));
        let visited = self.visitor.browse(started.authorization_url.as_str()).await;
        self.google.set_auto_approve(None);
        visited.context("the consent page")?;
        self.app.broker.connect.wait_connect(&started.connect_id).await?;
        Ok(())
    }

    /// Ends everything and leaves nothing behind.
    pub(super) async fn clear(self) {
        self.app.stop().await;
        self.shutdown.cancel();
        let _ = self.emulating.await;
        if let Err(error) = self.folder.close() {
            tracing::warn!(%error, "the demo's folder could not be removed");
        }
    }
}

/// In memory where there is a place for that, as a real runtime folder is.
fn temporary_folder() -> anyhow::Result<TempDir> {
    let in_memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("token-broker-demo-");
    let made = if in_memory.is_dir() {
        builder.tempdir_in(in_memory)
    } else {
        builder.tempdir()
    };
    made.or_else(|_| builder.tempdir()).context("a temporary folder")
}

fn write_config(
    folder: &Path,
    client_id: &str,
    client_secret: &str,
    google: &str,
) -> anyhow::Result<PathBuf> {
    let entropy: SharedEntropy = Arc::new(SystemEntropy);
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(
        folder.join("master.key"),
        vault::key::encode(&vault::key::generate(&*entropy)).as_bytes(),
    )?;
    fs::write(folder.join("client_secret"), client_secret)?;
    let key = format!("file:{}", path("master.key"));
    let text = config::template(&[
        ("state_dir", &path("state")),
        ("runtime_dir", &path("run")),
        ("http_listen", "127.0.0.1:0"),
        ("key.source", &key),
        ("google.client_id", client_id),
        ("google.client_secret_file", &path("client_secret")),
        ("google.endpoint_base", google),
    ])?;
    let file = folder.join("config.toml");
    fs::write(&file, text)?;
    let manifests = folder.join("agents.d");
    fs::create_dir(&manifests)?;
    for (name, manifest) in AGENTS {
        fs::write(manifests.join(format!("{name}.yaml")), manifest)?;
    }
    Ok(file)
}
