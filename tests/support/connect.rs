//! A person connects an account: the real command, with a browser that is played here.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
};

use url::Url;

use super::{
    command::Output,
    daemon::Daemon,
    http::{Answer, browse, post_form, try_browse, try_post_form},
};

/// A `connect` that waits for its person.
pub(crate) struct Connecting {
    /// What it printed for the browser.
    pub(crate) url: Url,
    process: Child,
    stdout: BufReader<ChildStdout>,
    first_line: String,
}

impl Connecting {
    /// Starts the command and reads the address. `Err` where it ended without one.
    pub(crate) fn start(
        daemon: &Daemon,
        owner: &str,
        capabilities: &[&str],
        args: &[&str],
    ) -> Result<Self, Output> {
        let mut all = vec!["connect", "--owner", owner];
        for key in capabilities {
            all.extend(["--capability", key]);
        }
        all.extend_from_slice(args);
        Self::command(daemon, &all)
    }

    /// Starts a command that asks for a consent and reads the address. `Err` where it ended without one.
    pub(crate) fn command(daemon: &Daemon, args: &[&str]) -> Result<Self, Output> {
        let mut command = daemon.command(args);
        if !args.contains(&"--timeout") {
            // A page that went wrong does not hold the test up.
            command.args(["--timeout", "80s"]);
        }
        Self::of(&mut command)
    }

    /// The same for a command with surroundings of its own.
    pub(crate) fn of(command: &mut Command) -> Result<Self, Output> {
        let mut process = command
            .args(["--no-browser", "--output", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut first_line = String::new();
        stdout.read_line(&mut first_line).unwrap();
        match Url::parse(first_line.trim_end()) {
            Ok(url) => Ok(Self {
                url,
                process,
                stdout,
                first_line,
            }),
            Err(_) => Err(finished(process, stdout, first_line)),
        }
    }

    /// The person goes to the address and approves; returns the page that the browser ends on.
    pub(crate) fn approve(&self) -> Answer {
        browse(self.url.as_str())
    }

    /// The person approves as `account` with every box ticked.
    pub(crate) fn approve_as(&self, account: &str) -> Answer {
        let asked = self.asked();
        let scopes: Vec<&str> = asked.iter().map(String::as_str).collect();
        self.approve_only(account, &scopes)
    }

    /// The person approves as `account` with only these boxes ticked.
    pub(crate) fn approve_only(&self, account: &str, scopes: &[&str]) -> Answer {
        let approved = self.try_approve_only(account, scopes);
        approved.unwrap_or_else(|error| panic!("{}: {error}", self.url))
    }

    /// The same, where the daemon may be gone by then.
    pub(crate) fn try_approve_only(&self, account: &str, scopes: &[&str]) -> Result<Answer, String> {
        let mut form = vec![("account", account), ("decision", "allow")];
        form.extend(scopes.iter().map(|scope| ("scope", *scope)));
        follow(try_post_form(self.url.as_str(), &form)?)
    }

    /// The person says no.
    pub(crate) fn deny(&self) -> Answer {
        follow(post_form(self.url.as_str(), &[("decision", "deny")])).unwrap()
    }

    /// The scopes that the address asks for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.parameter("scope").split(' ').map(str::to_owned).collect()
    }

    /// A parameter of the address.
    pub(crate) fn parameter(&self, name: &str) -> String {
        let found = self.url.query_pairs().find(|(known, _)| known == name);
        found.unwrap().1.into_owned()
    }

    /// Waits for the command to end.
    pub(crate) fn finish(self) -> Output {
        finished(self.process, self.stdout, self.first_line)
    }
}

fn follow(answer: Answer) -> Result<Answer, String> {
    if answer.status.is_redirection() {
        return try_browse(answer.header("location"));
    }
    Ok(answer)
}

fn finished(mut process: Child, mut stdout: BufReader<ChildStdout>, first_line: String) -> Output {
    let mut rest = first_line;
    stdout.read_to_string(&mut rest).unwrap();
    let mut stderr = String::new();
    process
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    Output {
        code: process.wait().unwrap().code().unwrap_or(-1),
        stdout: rest,
        stderr,
    }
}

impl Daemon {
    /// Connects the emulator's first account (or, for a connected owner, the same one) to `owner`.
    pub(crate) fn connect(&self, owner: &str, capabilities: &[&str]) -> Output {
        match Connecting::start(self, owner, capabilities, &[]) {
            Ok(connecting) => {
                connecting.approve();
                self.remember(connecting.finish())
            }
            Err(output) => self.remember(output),
        }
    }

    /// Tries to connect `account` to a daemon that may be gone by then; whether it says that it did.
    pub(crate) fn try_connect_as(&self, owner: &str, account: &str, capabilities: &[&str]) -> bool {
        // The limit ends a wait for a page that was lost with the daemon.
        let Ok(connecting) = Connecting::start(self, owner, capabilities, &["--timeout", "20s"]) else {
            return false;
        };
        let asked = connecting.asked();
        let scopes: Vec<&str> = asked.iter().map(String::as_str).collect();
        let _ = connecting.try_approve_only(account, &scopes);
        self.remember(connecting.finish()).code == 0
    }

    /// Connects `account` to `owner`, with every box ticked.
    pub(crate) fn connect_as(&self, owner: &str, account: &str, capabilities: &[&str]) -> Output {
        match Connecting::start(self, owner, capabilities, &[]) {
            Ok(connecting) => {
                connecting.approve_as(account);
                self.remember(connecting.finish())
            }
            Err(output) => self.remember(output),
        }
    }
}
