//! The search for secrets where none may be.

use std::{fs, path::Path};

use super::daemon::Daemon;

/// How the emulator's access tokens, refresh tokens and codes begin: whichever of them it gave out.
const KINDS: [&str; 3] = ["ya29.emu-", "1//emu-", "4/emu-"];

impl Daemon {
    /// Looks for secrets in everything that outlives a request or that others can see: the log, metrics,
    /// the audit trail, what commands said, arguments, `status.json`, the database's files. Looks for each of
    /// `secrets`, and for anything that looks like a token or a code of the emulator's.
    #[track_caller]
    pub(crate) fn scan_for_secrets(&self, secrets: &[&str]) {
        let mut texts = vec![
            ("the log".to_owned(), self.whole_log().into_bytes()),
            ("what commands said".to_owned(), self.transcript().into_bytes()),
            ("/metrics".to_owned(), self.metrics().into_bytes()),
            ("the audit trail".to_owned(), self.audit().into_bytes()),
        ];
        let arguments = format!("/proc/{}/cmdline", self.pid());
        texts.push((arguments.clone(), fs::read(arguments).unwrap()));
        for (folder, only) in [
            (self.state_dir(), None),
            (self.runtime_dir(), Some("status.json")),
        ] {
            collect(&folder, only, &mut texts);
        }
        for (place, text) in texts {
            for secret in secrets.iter().chain(&KINDS) {
                assert!(!secret.is_empty(), "an empty secret is everywhere");
                assert!(!holds(&text, secret), "{place} holds {secret}");
            }
        }
    }

    /// All audit events as JSON.
    pub(crate) fn audit(&self) -> String {
        let list = self.cli(&["audit", "list", "--output", "json"]);
        list.expect_ok().stdout
    }
}

fn holds(text: &[u8], secret: &str) -> bool {
    text.windows(secret.len())
        .any(|window| window == secret.as_bytes())
}

/// The files below `folder` (or those of this name alone).
fn collect(folder: &Path, only: Option<&str>, texts: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // A database's side files come and go.
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if metadata.is_dir() {
            collect(&path, only, texts);
        } else if metadata.is_file() && only.is_none_or(|name| path.ends_with(name)) {
            texts.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
}
