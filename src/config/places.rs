//! Where the daemon keeps what is its own, and who else could get at it.

use std::path::{Component, Path, PathBuf};

use super::{Config, ConfigError, KeySource, way, writers};
use crate::text::ShowPath;

impl Config {
    /// Why others than root and `user` may write the file; `None` where nobody may, or where there is none.
    pub fn written_by_others(&self, user: u32) -> Option<String> {
        let file = std::fs::File::open(&self.file).ok()?;
        writers::others(&self.file, &file, user)
    }

    /// The folders in which others than root and `user` could exchange the configuration, the manifests, what is secret, or
    /// the daemon's own folders.
    pub fn gaps(&self, user: u32) -> Vec<way::Gap> {
        let mut paths = vec![
            self.file.clone(),
            self.agents_dir(),
            self.state_dir.clone(),
            self.runtime_dir.clone(),
        ];
        for source in std::iter::once(&self.key.source).chain(&self.key.previous) {
            if let KeySource::File(path) = source {
                paths.push(path.clone());
            }
        }
        paths.extend(self.google.secret_file().map(Path::to_owned));
        let mut gaps: Vec<way::Gap> = Vec::new();
        for gap in paths.iter().filter_map(|path| way::gap(path, user)) {
            if !gaps.iter().any(|known| known.folder() == gap.folder()) {
                gaps.push(gap);
            }
        }
        gaps
    }

    /// Adds a warning for each place where others than root and this process's user could change what decides what this
    /// process starts, trusts and hands out.
    pub fn warn_of_writers(&mut self) {
        let me = writers::own_user();
        if let Some(reason) = self.written_by_others(me) {
            self.warnings.push(format!("{}: {reason}", self.file.shown()));
        }
        let runtime_dir = std::fs::File::open(&self.runtime_dir).ok();
        if let Some(reason) = runtime_dir.and_then(|folder| writers::others(&self.runtime_dir, &folder, me)) {
            self.warnings
                .push(format!("{}: {reason}", self.runtime_dir.shown()));
        }
        let gaps = self.gaps(me).into_iter().map(|gap| gap.to_string());
        self.warnings.extend(gaps);
    }
}

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
