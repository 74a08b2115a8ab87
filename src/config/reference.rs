//! `docs/src/reference/configuration.md`, made from the tables of keys, so that it cannot say anything else.
//!
//! The test fails when the page is out of date; with `UPDATE_REFERENCE=1` it writes it anew.

use std::{fmt::Write, fs};

use super::{
    admin, capabilities,
    keys::KEYS,
    schema::{Key, Kind, Section, Unset},
    template::literal,
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/reference/configuration.md");

const HEAD: &str = "\
# Configuration

Made from the code by `UPDATE_REFERENCE=1 cargo test --lib config::reference`; a test fails when it is out of date.

The daemon and the commands on its node read `/etc/token-broker/config.toml`, or the file that `--config` or
`TOKEN_BROKER_CONFIG` names. `token-broker init` writes one with every key in it. A file with an unknown key is refused; the
message names the line, and the key that was probably meant.

Each key can also come from the environment, which wins over the file. An empty variable counts as none, and one that names a
section is refused. A list is separated by commas there. A relative path is relative to the file's folder; one in a variable is relative to the working directory.

A daemon reads its configuration at its start. Where a key does not say otherwise, a change takes a restart; `status` and
`doctor` name the keys that were changed since.

Agents are declared in the folder `agents.d` beside the file, and not in it.
";

const CAPABILITIES: &str = "
## [[capabilities]]

Capabilities beyond the built-in ones, which `token-broker capabilities` lists. There is one such section for each. The
variable `TOKEN_BROKER_CAPABILITIES` holds all of them as a TOML array of inline tables.
";

const CLIENTS: &str = "
## [[admin.clients]]

Who may call AdminService at `admin.listen`. There is one such section for each client. A change takes no restart: SIGHUP has
it read again, and connections of clients that are not in the list any more, or not as they were, end at once. A certificate
that bears the names of two clients in the list is refused.
";

const PROVIDERS: &str = "
## [[providers]]

Who gives tokens besides Google. There is one such section for each. It has an `id`, by which manifests and capabilities name
the provider, and a `type`, on which the other keys depend. A change takes a restart. What a provider's accounts can be used
for is said in `[[capabilities]]` with its `integration`.
";

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Choice(_) => "one of several words",
        Kind::Path => "path",
        Kind::Address => "address and port",
        Kind::Url => "URL",
        Kind::Number { .. } => "whole number",
        Kind::Flag => "true or false",
        Kind::List => "list of texts",
    }
}

/// What a value may be, where the kind does not say it all.
fn form(key: &Key) -> String {
    match key.kind {
        Kind::Number { unit, .. } if !unit.is_empty() => format!("{}, in {unit}", key.expected()),
        Kind::Number { .. } | Kind::Choice(_) => key.expected(),
        Kind::Flag => String::new(),
        _ => key.form.replace("{example}", key.shown()),
    }
}

fn unset(key: &Key) -> String {
    let shown = literal(key, key.shown());
    match key.unset {
        Unset::Default(_) => format!("Default: `{shown}`"),
        Unset::Derived(_) => format!("Default: derived. Example: `{shown}`"),
        Unset::Nothing("" | "…") => "Default: none".to_owned(),
        Unset::Nothing(_) => format!("Default: none. Example: `{shown}`"),
    }
}

/// One key under a heading of its own, which links can lead to.
fn describe(text: &mut String, key: &Key) -> std::fmt::Result {
    let doc = key.doc.replace('\n', " ").replace('<', "\\<");
    writeln!(text, "\n### {}\n\n{doc}\n", key.path)?;
    let form = form(key);
    let separator = if form.is_empty() { "" } else { ": " };
    writeln!(text, "- Type: {}{separator}{form}", kind(key.kind))?;
    writeln!(text, "- {}", unset(key))?;
    if key.is_secret {
        writeln!(text, "- Secret: a file that holds it has to be its owner's alone")?;
    }
    if key.is_live {
        writeln!(text, "- A change takes no restart: SIGHUP has it read again")?;
    }
    for former in key.former {
        writeln!(text, "- Former name: `{former}`")?;
    }
    Ok(())
}

fn section(text: &mut String, section: &Section) -> std::fmt::Result {
    match section.name {
        "" => writeln!(text, "\n## Before the first section\n\n{}.", section.about)?,
        name => writeln!(text, "\n## [{name}]\n\n{}.", section.about)?,
    }
    for key in section.keys {
        describe(text, key)?;
        writeln!(text, "- Environment: `{}`", key.variable())?;
        writeln!(text, "- Since: {}", key.since)?;
    }
    Ok(())
}

fn page() -> Result<String, std::fmt::Error> {
    let mut text = HEAD.to_owned();
    for one in KEYS.0 {
        section(&mut text, one)?;
    }
    text.push_str(CLIENTS);
    for field in admin::FIELDS {
        describe(&mut text, field)?;
    }
    text.push_str(PROVIDERS);
    text.push_str(CAPABILITIES);
    for field in capabilities::FIELDS {
        describe(&mut text, field)?;
    }
    Ok(text)
}

#[test]
fn the_reference_says_what_the_tables_say() {
    let made = page().unwrap();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(FILE, &made).unwrap();
    }
    let written = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        written == made,
        "{FILE} is out of date: run UPDATE_REFERENCE=1 cargo test --lib config::reference"
    );
}
