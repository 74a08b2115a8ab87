//! What an agent sees: its directory and its socket.

use std::{fmt::Write, fs, io, path::PathBuf, time::Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::{
    PATIENCE, block_on,
    daemon::Daemon,
    grpc::Tokens,
    http::{Answer, open_unix, try_get_unix},
    is_root, wait_for, wait_until,
};

/// The uid that agents run under, where the tests may take one on.
pub(crate) const AGENT_UID: u32 = 4242;

/// A manifest: required capabilities, and with a leading `?` optional ones. As root, the agent's uid is
/// [`AGENT_UID`].
pub(crate) fn manifest(agent: &str, owner: &str, capabilities: &[&str]) -> String {
    let mut text = format!("agent: {agent}\nowner: {owner}\n");
    if is_root() {
        writeln!(text, "uid: {AGENT_UID}").unwrap();
    }
    text.push_str("integrations:\n");
    for capability in capabilities {
        let (key, optional) = match capability.strip_prefix('?') {
            Some(key) => (key, true),
            None => (*capability, false),
        };
        writeln!(text, "  - key: {key}\n    description: For a test").unwrap();
        if optional {
            text.push_str("    optional: true\n");
        }
    }
    text
}

/// An agent's directory.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
}

impl Agent {
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("broker.sock")
    }

    /// The content of one of its files; `None` where there is no such file.
    pub(crate) fn try_read(&self, file: &str) -> Option<String> {
        match fs::read_to_string(self.path(file)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{}: {error}", self.path(file).display()),
        }
    }

    pub(crate) fn read(&self, file: &str) -> String {
        self.try_read(file)
            .unwrap_or_else(|| panic!("{} is not there", self.path(file).display()))
    }

    /// The content of `env`.
    pub(crate) fn env(&self) -> String {
        self.read("env")
    }

    /// One variable of `env`.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let env = self.try_read("env")?;
        let found = env
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.map(str::to_owned)
    }

    /// The token in `env`.
    pub(crate) fn token(&self) -> Option<String> {
        self.variable("GOOGLE_OAUTH_ACCESS_TOKEN")
    }

    /// `status.json`.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.read("status.json")).unwrap()
    }

    /// `GET path` on its socket.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path)
            .unwrap_or_else(|error| panic!("{path} of {}: {error}", self.name))
    }

    /// `GET path` on its socket, where nobody may be listening.
    pub(crate) fn try_get(&self, path: &str) -> Result<Answer, String> {
        try_get_unix(&self.socket(), path)
    }

    /// The token that its socket gives, if there is one.
    pub(crate) fn ask_token(&self) -> Option<String> {
        let answer = self.try_get("/v1/token").ok()?;
        let answer = Some(answer).filter(|answer| answer.status == 200)?;
        Some(answer.json()["access_token"].as_str()?.to_owned())
    }

    /// `GET /v1/watch`.
    pub(crate) fn watch(&self) -> EventStream {
        let answer = block_on(open_unix(&self.socket(), "/v1/watch")).unwrap();
        // So that a proxy passes each of them on at once.
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        EventStream::of(answer)
    }

    /// A gRPC client on its socket.
    pub(crate) fn grpc(&self) -> Tokens {
        Tokens::connect(&self.socket())
    }
}

/// Server-sent events, one after the other.
pub(crate) struct EventStream {
    body: Incoming,
    unread: String,
}

impl EventStream {
    /// The events that an answer consists of.
    pub(crate) fn of(answer: http::Response<Incoming>) -> Self {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self {
            body: answer.into_body(),
            unread: String::new(),
        }
    }

    /// The next event's name and data, comments skipped; `None` at the stream's end.
    pub(crate) fn next(&mut self) -> Option<(String, Value)> {
        let start = Instant::now();
        // Comments that keep the stream alive do not count.
        while start.elapsed() < PATIENCE {
            while let Some((block, rest)) = self.unread.split_once("\n\n") {
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
                let event = field("event: ").map(str::to_owned);
                let data = field("data: ").map(|data| serde_json::from_str(data).unwrap());
                self.unread = rest.to_owned();
                if let (Some(event), Some(data)) = (event, data) {
                    return Some((event, data));
                }
            }
            let frame = block_on(self.body.frame())?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.unread.push_str(std::str::from_utf8(&data).unwrap());
            }
        }
        panic!("waited too long for an event");
    }

    /// Reads on until an event fits.
    pub(crate) fn until(&mut self, what: &str, fits: impl Fn(&str, &Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
            let (event, data) = self
                .next()
                .unwrap_or_else(|| panic!("the stream ended before {what}"));
            if fits(&event, &data) {
                return data;
            }
        }
    }
}

impl Daemon {
    /// What the agent of this name sees.
    pub(crate) fn agent(&self, name: &str) -> Agent {
        Agent {
            name: name.to_owned(),
            directory: self.runtime_dir().join("agents").join(name),
        }
    }

    /// Puts a manifest into `agents.d` as an editor does: written beside it, then renamed over it.
    pub(crate) fn write_manifest(&self, agent: &str, owner: &str, capabilities: &[&str]) {
        self.put_file(agent, &manifest(agent, owner, capabilities));
    }

    /// Puts any text into `agents.d/<name>.yaml`.
    pub(crate) fn put_file(&self, name: &str, text: &str) {
        let folder = self.agents_d();
        let beside = folder.join(format!(".{name}.tmp"));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, folder.join(format!("{name}.yaml"))).unwrap();
    }

    /// Waits until an agent's `env` names this state, and so does `status.json`, which is written after it; returns the
    /// agent.
    pub(crate) fn wait_for_state(&self, agent: &str, state: &str) -> Agent {
        let agent = self.agent(agent);
        let mut last = None;
        wait_until(&format!("{} to be {state}", agent.name), || {
            last = agent.variable("TOKEN_BROKER_STATE");
            // In a new directory it may not be there yet.
            let told = agent.try_read("status.json").is_some();
            last.as_deref() == Some(state) && told && agent.status()["state"] == state
        });
        agent
    }

    /// Waits for an agent to have a token that is not `old`; returns it.
    pub(crate) fn wait_for_token(&self, agent: &str, old: Option<&str>) -> String {
        let agent = self.agent(agent);
        wait_for(&format!("{} to get a token", agent.name), || {
            agent.token().filter(|token| Some(token.as_str()) != old)
        })
    }
}
