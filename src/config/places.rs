//! Which folders `state_dir` and `runtime_dir` may be.

use std::path::{Component, Path, PathBuf};

use super::error::ConfigError;
use crate::text::ShowPath;

/// Refuses folders that are no place for a database, or for what agents see; returns a warning for those that are a bad one.
pub(super) fn check(state_dir: &Path, runtime_dir: &Path) -> Result<Option<String>, ConfigError> {
    let (state, runtime) = (resolved(state_dir), resolved(runtime_dir));
    for (key, folder) in [("state_dir", &state), ("runtime_dir", &runtime)] {
        if folder.parent().is_none() {
            return Err(ConfigError::new(format!(
                "{key} is the root of the file system: give the daemon a folder of its own, such as /var/lib/token-broker \
                 or /run/token-broker"
            )));
        }
    }
    let (state_shown, runtime_shown) = (state_dir.shown(), runtime_dir.shown());
    if state == runtime {
        return Err(ConfigError::new(format!(
            "state_dir and runtime_dir are both {state_shown}: parts of runtime_dir are given to agents, so keep the database \
             elsewhere"
        )));
    }
    Ok(if state.starts_with(&runtime) {
        Some(format!(
            "state_dir {state_shown} lies in runtime_dir {runtime_shown}, which seldom outlives the machine's next start: keep \
             the database elsewhere; the next version refuses this"
        ))
    } else if runtime.starts_with(&state) {
        Some(format!(
            "runtime_dir {runtime_shown} lies in state_dir {state_shown}, which is closed to agents of other users: take a \
             folder elsewhere, such as one under /run; the next version refuses this"
        ))
    } else {
        None
    })
}

/// The path without links, as far as it is there, and without `.` and `..`.
fn resolved(path: &Path) -> PathBuf {
    let there = path
        .ancestors()
        .find_map(|above| Some((above, above.canonicalize().ok()?)));
    let (above, real) = there.unwrap_or((Path::new(""), PathBuf::from("/")));
    let rest = path.strip_prefix(above).unwrap_or(path);
    let mut whole = real;
    for component in rest.components() {
        match component {
            Component::Normal(name) => whole.push(name),
            Component::ParentDir => {
                whole.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(state: &Path, runtime: &Path) -> String {
        check(state, runtime)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    fn warned(state: &Path, runtime: &Path) -> String {
        let checked = check(state, runtime).map_err(|error| error.to_string());
        checked.unwrap().unwrap_or_default()
    }

    #[test]
    fn folders_that_cannot_be_the_daemons_are_refused_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
        for (state, runtime) in [
            ("state", "run"),
            ("real/a", "real/b"),
            ("a/state", "a"),
            ("state", "state2"),
        ] {
            let expected = if runtime == "a" { "lies in runtime_dir" } else { "" };
            let said = warned(&at(state), &at(runtime));
            assert_eq!(said.is_empty(), expected.is_empty(), "{state} {runtime}: {said}");
            assert!(said.contains(expected), "{said}");
        }
        for (state, runtime) in [
            ("real", "real"),
            ("real", "link"),
            ("real", "x/../real/."),
            ("link/a", "real/a"),
        ] {
            assert!(
                refused(&at(state), &at(runtime)).contains("are both"),
                "{state} {runtime}"
            );
        }
        assert!(warned(&at("real"), &at("link/run")).contains("is closed to agents"));
        assert!(warned(&at("link/state"), &at("real")).contains("seldom outlives"));
        for root in ["/", "//", "/.", "/tmp/../"] {
            let root = Path::new(root);
            assert!(
                refused(root, &at("run")).starts_with("state_dir is the root"),
                "{root:?}"
            );
            assert!(
                refused(&at("state"), root).starts_with("runtime_dir is the root"),
                "{root:?}"
            );
        }
    }
}
