//! Single-file mounts: a file that is replaced atomically never changes behind one.

use std::{collections::HashSet, fs, path::Path};

use super::finding::Finding;

/// The entries of an agent directory.
const ENTRIES: [&str; 6] = [
    "env",
    "access_token",
    "status.json",
    "adc.json",
    "adc-external.json",
    "broker.sock",
];

/// What the kernel adds to the path of a file that has no name any more.
const RENAMED_OVER: &str = "//deleted";

/// Looks through the mounts of every process that may be looked at: in a container its own, on the node those
/// of the containers as well.
pub(super) fn check() -> Vec<Finding> {
    const CHECK: &str = "mounts";
    let mut wrong: Vec<String> = Vec::new();
    for table in tables() {
        for place in table.lines().filter_map(single_file) {
            let message = format!(
                "{} is mounted by itself at {}: it keeps the token of the moment the container started",
                place.source, place.target
            );
            if !wrong.contains(&message) {
                wrong.push(message);
            }
        }
    }
    if wrong.is_empty() {
        return vec![Finding::ok(
            CHECK,
            "no file of an agent's directory is mounted by itself",
        )];
    }
    let advice = "mount the agent's whole directory, conventionally at /run/token-broker";
    wrong
        .into_iter()
        .map(|message| Finding::fail(CHECK, message, advice))
        .collect()
}

/// The mount tables, one for each mount namespace.
fn tables() -> impl Iterator<Item = String> {
    let mut seen = HashSet::new();
    let processes = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let others = processes.filter(|path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    });
    std::iter::once("/proc/self".into())
        .chain(others)
        .filter_map(move |process| {
            let namespace = fs::read_link(process.join("ns/mnt")).ok()?;
            if !seen.insert(namespace) {
                return None;
            }
            fs::read_to_string(process.join("mountinfo")).ok()
        })
}

/// What is mounted where.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    source: String,
    target: String,
}

/// Reads a line of `mountinfo` (`proc_pid_mountinfo(5)`): the fourth field is what is mounted, as a path in its
/// own file system, the fifth is where. `…/agents/<name>/<entry>` is a file of an agent's directory. A renewal takes
/// the name away from a file that is mounted, and the kernel says so.
fn single_file(line: &str) -> Option<Place> {
    let mut fields = line.split(' ').skip(3);
    let (source, target) = (unescape(fields.next()?), unescape(fields.next()?));
    let source = source.strip_suffix(RENAMED_OVER).unwrap_or(&source).to_owned();
    let path = Path::new(&source);
    let entry = path.file_name()?.to_str()?;
    let agents = path.parent()?.parent()?.file_name()?;
    (agents == "agents" && ENTRIES.contains(&entry)).then_some(Place { source, target })
}

/// The kernel writes space, tab, newline and backslash as octal escapes.
pub(super) fn unescape(field: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escape, character)| {
            text.replace(escape, character)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_file_mount_is_told_from_a_directory() {
        let line = |source: &str, target: &str| {
            format!("36 35 0:26 {source} {target} ro,relatime master:1 - tmpfs tmpfs rw,size=1k")
        };
        assert_eq!(
            single_file(&line("/token-broker/agents/bot/env", r"/app/my\040.env")),
            Some(Place {
                source: "/token-broker/agents/bot/env".to_owned(),
                target: "/app/my .env".to_owned()
            })
        );
        assert_eq!(
            single_file(&line("/token-broker/agents/bot/env//deleted", "/app/.env")),
            Some(Place {
                source: "/token-broker/agents/bot/env".to_owned(),
                target: "/app/.env".to_owned()
            })
        );
        for (source, target) in [
            ("/token-broker/agents/bot", "/run/token-broker"),
            ("/home/bot/agents/bot/notes", "/x"),
            ("/srv/env", "/app/.env"),
            ("/srv/shop/bot/env", "/app/.env"),
            ("/", "/"),
        ] {
            assert_eq!(single_file(&line(source, target)), None, "{source}");
        }
    }

    #[test]
    fn this_process_has_a_mount_table() {
        assert!(tables().next().is_some_and(|table| table.contains(" / ")));
    }
}
