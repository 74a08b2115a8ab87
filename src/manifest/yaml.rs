//! Manifests as YAML files.

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::{Error as YamlError, Location, Options, Spanned, options::MergeKeyPolicy};

use super::document::{Manifest, ManifestError, check_size, shown_path};
use crate::{
    capability::Catalog,
    config::suggest,
    secret::shape::{is_field_name, redacted, without_quotes},
    text,
};

impl Manifest {
    /// Reads a manifest from YAML. Whether its capabilities exist is for [`Manifest::validate`] to say, or
    /// for [`Manifest::from_yaml_with`], whose errors then have a line.
    pub fn from_yaml(text: &str, file_name: &str) -> Result<Self, ManifestError> {
        let in_file = |error: ManifestError| ManifestError {
            file: Some(file_name.to_owned()),
            ..error
        };
        let text = text::plain(text);
        let mut manifest = read(text).map_err(in_file)?;
        manifest.integrations.shrink_to_fit();
        manifest.check().map_err(|error| in_file(located(text, error)))?;
        Ok(manifest)
    }

    /// Reads a manifest from YAML and checks its capabilities against the catalogue.
    pub fn from_yaml_with(catalog: &Catalog, text: &str, file_name: &str) -> Result<Self, ManifestError> {
        let manifest = Self::from_yaml(text, file_name)?;
        manifest.validate(catalog).map_err(|error| ManifestError {
            file: Some(file_name.to_owned()),
            ..located(text, error)
        })?;
        Ok(manifest)
    }
}

/// How much of YAML a manifest may use: far more than any needs, far less than would hurt.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 10_000,
            max_nodes: 5_000,
            max_depth: 16,
            max_anchors: 64,
            max_aliases: 256,
            flow_nesting_limit: 16,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 5_000,
            max_replay_stack_depth: 4,
        },
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Why a requirement names no account.
const ONE_ACCOUNT: &str = "an agent uses one account of a person, because its env file holds one such token: name the account once, \
                           as `account:` beside `owner:`, and declare a second agent for a second account";

/// An account was named in a single requirement.
fn names_account_of_one(error: &YamlError, path: Option<&str>) -> bool {
    matches!(error.without_snippet(), YamlError::SerdeUnknownField { field, .. } if field == "account")
        && path.is_some_and(|path| path.starts_with("integrations["))
}

fn read(text: &str) -> Result<Manifest, ManifestError> {
    check_size(text)?;
    let mut path = None;
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            path = shown_path(&error.path().to_string()).filter(|path| is_plain(path));
            error.into_inner()
        })
    })
    .map_err(|error| {
        let place = error.location();
        let message = if names_account_of_one(&error, path.as_deref()) {
            ONE_ACCOUNT.to_owned()
        } else {
            explain(text, &error)
        };
        ManifestError {
            line: place.map(|l| l.line()),
            column: place.map(|l| l.column()),
            field: match error.without_snippet() {
                YamlError::DuplicateMappingKey { key, .. } if path.is_none() => {
                    key.clone().filter(|key| is_field_name(key))
                }
                _ => path.take(),
            },
            message,
            ..ManifestError::default()
        }
    })
}

/// Whether a tab is what the reader stumbled over in this line, from 1: one before its text, or before that of the next.
fn is_by_tab(text: &str, line: u64) -> bool {
    let before = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    let blank = |line: &str| line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    text.lines().skip(before).take(2).any(blank)
}

/// True for the path of a field, such as `integrations[0].key`, whose every name can be one. Other names are not repeated: a
/// file that is no manifest may be what a link leads to, and hold a secret.
fn is_plain(path: &str) -> bool {
    let name = |part: &str| {
        let name = part.split_once('[').map_or(part, |(name, _)| name);
        is_field_name(name)
    };
    path.split('.').all(name)
}

/// What the reader found, in the words of someone who writes a manifest.
fn explain(text: &str, error: &YamlError) -> String {
    match error.without_snippet() {
        YamlError::Eof { .. } => "there is nothing in it".to_owned(),
        YamlError::Message { msg, .. } => said(msg),
        YamlError::MultipleDocuments { .. } => {
            "a second document begins here: one file holds one agent".to_owned()
        }
        YamlError::DuplicateMappingKey { .. } => "the field is given twice".to_owned(),
        YamlError::NullIntoString { .. } => "the value is missing".to_owned(),
        YamlError::InvalidBooleanStrict { .. } => "expected `true` or `false`".to_owned(),
        YamlError::InvalidScalar { ty: "u32", .. } => {
            "expected a whole number from 0 to 4294967294".to_owned()
        }
        YamlError::Unexpected { expected, .. } => match *expected {
            "sequence start" => "expected a list; `[]` is the empty one".to_owned(),
            "mapping start" => "expected fields, each as `name: value`".to_owned(),
            "string scalar" => "expected a text".to_owned(),
            other => format!("expected {other}"),
        },
        YamlError::SerdeMissingField { field, .. } => format!("the field `{field}` is missing"),
        YamlError::SerdeUnknownField { field, expected, .. } => unknown_field(field, expected),
        YamlError::MergeKeyNotAllowed { .. } => {
            "merge keys (`<<`) are not supported: write the fields out".to_owned()
        }
        YamlError::Budget { .. } => "more nodes, depth or aliases than any manifest needs".to_owned(),
        other
            if other
                .location()
                .is_some_and(|place| is_by_tab(text, place.line())) =>
        {
            "tabs are not allowed for indentation: use spaces".to_owned()
        }
        other => {
            let text = other.to_string();
            let place = other
                .location()
                .map(|l| format!(" at line {}, column {}", l.line(), l.column()));
            let bare = place.as_deref().and_then(|place| text.strip_suffix(place));
            without_quotes(bare.unwrap_or(&text))
        }
    }
}

/// A message of a field's own type, which may quote a name that does not fit; or one of serde's, which quotes anything.
fn said(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => format!("expected {expected}"),
        _ => redacted(message),
    }
}

fn unknown_field(field: &str, expected: &[&'static str]) -> String {
    match suggest::closest(field, expected.iter().copied()) {
        Some(meant) => format!("there is no such field: did you mean `{meant}`?"),
        None => format!("there is no such field: expected one of {}", expected.join(", ")),
    }
}

/// Where the fields are, for errors that are found after reading.
#[derive(Deserialize)]
struct Places {
    account: Option<Spanned<IgnoredAny>>,
    service_account: Option<Spanned<IgnoredAny>>,
    uid: Option<Spanned<IgnoredAny>>,
    gid: Option<Spanned<IgnoredAny>>,
    kubernetes: Option<PodPlaces>,
    nodes: Option<Spanned<IgnoredAny>>,
    integrations: Option<Spanned<Vec<RequirementPlaces>>>,
}

#[derive(Deserialize)]
struct PodPlaces {
    namespace: Option<Spanned<IgnoredAny>>,
    #[serde(rename = "serviceAccount")]
    service_account: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
struct RequirementPlaces {
    key: Spanned<IgnoredAny>,
    description: Option<Spanned<IgnoredAny>>,
}

/// Adds line and column to an error that names its field.
fn located(text: &str, error: ManifestError) -> ManifestError {
    let place = error
        .field
        .as_deref()
        .zip(serde_saphyr::from_str_with_options::<Places>(text, options()).ok())
        .and_then(|(field, places)| places.of(field));
    ManifestError {
        line: place.map(|l| l.line()),
        column: place.map(|l| l.column()),
        ..error
    }
}

impl Places {
    fn of(&self, field: &str) -> Option<Location> {
        let place = |value: &Option<Spanned<IgnoredAny>>| value.as_ref().map(|v| v.referenced);
        match field {
            "account" => return place(&self.account),
            "service_account" => return place(&self.service_account),
            "uid" => return place(&self.uid),
            "gid" => return place(&self.gid),
            "kubernetes.namespace" => return place(&self.kubernetes.as_ref()?.namespace),
            "kubernetes.serviceAccount" => return place(&self.kubernetes.as_ref()?.service_account),
            "nodes" => return place(&self.nodes),
            "integrations" => return self.integrations.as_ref().map(|list| list.referenced),
            _ => {}
        }
        let (index, field) = field.strip_prefix("integrations[")?.split_once("].")?;
        let requirement = self
            .integrations
            .as_ref()?
            .value
            .get(index.parse::<usize>().ok()?)?;
        match field {
            "key" => Some(requirement.key.referenced),
            "description" => place(&requirement.description),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "agent: invoice-bot\nowner: alice\n";

    fn refused(text: &str) -> String {
        let error = Manifest::from_yaml_with(&Catalog::builtin(), text, "bot.yaml").unwrap_err();
        error.to_string()
    }

    #[test]
    fn a_tab_that_indents_is_called_so() {
        for text in [
            "agent: a\nowner: b\nintegrations:\n\t- key: google.drive\n",
            "agent: a\nowner: b\nkubernetes:\n\tnamespace: x\n",
            "agent: a\nowner: b\nintegrations:\n  - key: google.drive\n\t  optional: true\n",
        ] {
            let said = refused(text);
            assert!(
                said.contains("tabs are not allowed for indentation: use spaces"),
                "{said}"
            );
        }
    }

    #[test]
    fn the_documented_manifest_is_read() {
        let text = "\
agent: invoice-bot
owner: alice
uid: 1000            # who may read the directory; gid likewise
integrations:
  - key: google.gmail.send
    description: Send order confirmations
  - key: google.calendar.readonly
    description: Check your availability
    optional: true
";
        let manifest = Manifest::from_yaml_with(&Catalog::builtin(), text, "bot.yaml").unwrap();
        assert_eq!(
            manifest.to_json(),
            r#"{"agent":"invoice-bot","owner":"alice","uid":1000,"integrations":[{"key":"google.gmail.send","description":"Send order confirmations"},{"key":"google.calendar.readonly","description":"Check your availability","optional":true}]}"#
        );
    }

    #[test]
    fn an_error_names_file_line_column_and_field() {
        for (rest, message) in [
            (
                "uid: abc\n",
                "bot.yaml:3:6: uid: expected a whole number from 0 to 4294967294",
            ),
            (
                "uid: 4294967295\n",
                "bot.yaml:3:6: uid: 4294967295 is no user or group",
            ),
            (
                "udi: 7\n",
                "bot.yaml:3:1: udi: there is no such field: did you mean `uid`?",
            ),
            ("owner: bob\n", "bot.yaml:3:1: owner: the field is given twice"),
            (
                "kubernetes:\n  namespace: billing\n  serviceAccount: Robot\n",
                "bot.yaml:5:19: kubernetes.serviceAccount: `Robot` is no name of Kubernetes': lower-case letters, \
                 digits and hyphens",
            ),
            (
                "nodes: [node-7, node-7]\n",
                "bot.yaml:3:8: nodes: `node-7` is named twice",
            ),
            (
                "kubernetes: {namespace: billing, service_account: robot}\n",
                "bot.yaml:3:34: kubernetes.service_account: there is no such field: did you mean `serviceAccount`?",
            ),
            (
                "integrations:\n",
                "bot.yaml:3:13: integrations: expected a list; `[]` is the empty one",
            ),
            (
                "integrations:\n  - key: google.gmal.send\n",
                "bot.yaml:4:10: integrations[0].key: `google.gmal.send` is not in the catalogue: \
                 did you mean `google.gmail.send`?",
            ),
            (
                "integrations:\n  - key: google.drive\n  - key: google.drive\n",
                "bot.yaml:5:10: integrations[1].key: `google.drive` is declared twice",
            ),
            (
                "integrations:\n  - key: google.drive\n    optional: yes\n",
                "bot.yaml:5:15: integrations[0].optional: expected `true` or `false`",
            ),
            (
                "integrations:\n  - description: x\n",
                "bot.yaml:4:5: integrations[0]: the field `key` is missing",
            ),
            (
                "integrations:\n  - key: google.drive\n    description: \"a\\u0007b\"\n",
                "bot.yaml:5:18: integrations[0].description: it holds the control character `\\u{7}`: \
                 write one line of text",
            ),
            (
                "integrations:\n  - key: google.drive\n    color: red\n",
                "bot.yaml:5:5: integrations[0].color: there is no such field: expected one of key, \
                 description, optional",
            ),
            (
                "account: work\n",
                "bot.yaml:3:10: account: `work` is not the address of an account, such as alice@example.com",
            ),
            (
                "service_account: robot\n",
                "bot.yaml:3:18: service_account: `robot` is not the address of an account, such as alice@example.com",
            ),
            (
                "integrations:\n  - key: google.drive\n    account: a@b.example\n",
                "bot.yaml:5:5: integrations[0].account: an agent uses one account of a person, because its env file \
                 holds one such token: name the account once, as `account:` beside `owner:`, and declare a second agent for a \
                 second account",
            ),
            (
                "---\nagent: x\n",
                "bot.yaml:4:1: a second document begins here: one file holds one agent",
            ),
            (
                "<<: {uid: 1}\n",
                "bot.yaml:3:1: merge keys (`<<`) are not supported: write the fields out",
            ),
        ] {
            assert_eq!(refused(&format!("{HEAD}{rest}")), message);
        }
    }

    #[test]
    fn an_error_in_the_whole_has_a_place_too() {
        assert_eq!(refused(""), "bot.yaml:1:1: there is nothing in it");
        assert_eq!(
            refused("agent: a\n"),
            "bot.yaml:1:1: the field `owner` is missing"
        );
        assert_eq!(
            refused("- a\n"),
            "bot.yaml:1:1: expected fields, each as `name: value`"
        );
        assert_eq!(refused("agent: \"a\n"), "bot.yaml:1:8: unclosed quote");
        assert_eq!(
            refused("agent: a\nowner:\n"),
            "bot.yaml:2:6: owner: the value is missing"
        );
    }

    #[test]
    fn what_is_no_manifest_is_not_repeated() {
        const SECRET: &str = "$y$j9T$Qd7a/CANARY.secret";
        for text in [
            &format!("root:{SECRET}:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n"),
            &format!("{SECRET}: x\n"),
            &format!("{SECRET}: x\n{SECRET}: x\n"),
            &format!("agent: bot\nowner: alice\n{SECRET}: 1\n"),
            &format!("agent: bot\nowner: alice\nuid: {SECRET}\n"),
            &format!("agent: bot\nowner: alice\nkubernetes: {SECRET}\n"),
            &format!("agent: bot\nowner: alice\nintegrations: [{{{SECRET}: 1}}]\n"),
            &format!("agent: bot\nowner: alice\nintegrations: [{{key: google.drive, optional: {SECRET}}}]\n"),
            &format!("agent: bot\nowner: *{SECRET}\n"),
            &format!("agent: bot\nowner: !{SECRET} x\n"),
            &format!("- {SECRET}\n"),
            &format!("[{SECRET}"),
            &format!("\"{SECRET}"),
            &format!("GOCSPX-{SECRET}\n"),
        ] {
            let message = refused(text);
            assert!(message.starts_with("bot.yaml:"), "{message}");
            assert!(
                !message.contains("CANARY") && !message.contains("$y$"),
                "{text}: {message}"
            );
        }
        assert_eq!(
            refused("hunter2: x\n"),
            "bot.yaml:1:1: there is no such field: expected one of agent, owner, account, service_account, accounts, uid, gid, \
             kubernetes, nodes, integrations"
        );
    }

    #[test]
    fn bombs_are_bounded() {
        let nested = format!("{HEAD}integrations: {}", "[".repeat(10_000));
        assert_eq!(
            refused(&nested),
            "bot.yaml:3:31: integrations: recursion limit exceeded"
        );

        let aliases = format!(
            "{HEAD}integrations: [&a {{key: google.drive}}{}]\n",
            ", *a".repeat(300)
        );
        assert_eq!(
            refused(&aliases),
            "bot.yaml:3:1064: integrations: more nodes, depth or aliases than any manifest needs"
        );
        assert_eq!(
            refused(&format!("{HEAD}#{}", "x".repeat(70_000))),
            "bot.yaml: it is 70033 bytes long, and a manifest has at most 65536"
        );
    }
}
