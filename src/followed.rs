//! Files that somebody else replaces (certificates, authorities), read again when they changed.
//!
//! They are compared whenever what is in them is needed, by inode, size and time, links followed, rather than watched: it
//! costs a `stat` each, and neither a lost event nor a swapped link is missed.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::spawn_blocking;

/// What changes with a file or folder, links followed: cert-manager's files are links that are exchanged.
type Stamp = Option<(u64, u64, u64, i64, i64)>;
type Stamps = Vec<(PathBuf, Stamp)>;

/// What was read of some files, as they are now.
pub(crate) struct Followed<T> {
    /// What they are, for the log, such as `the certificate`.
    what: &'static str,
    /// Where they are: looked for anew each time.
    places: Box<dyn Fn() -> Vec<PathBuf> + Send + Sync>,
    read: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The files that were looked at last.
    seen: Stamps,
    /// What was in the last good ones.
    value: Option<Arc<T>>,
    /// Why those that were looked at last are of no use, where they are not.
    problem: Option<String>,
}

impl<T: Send + Sync + 'static> Followed<T> {
    /// Reads nothing yet. Of a folder among the `places`, what is in it counts. `read` fails with a sentence that names the
    /// file.
    pub(crate) fn new(
        what: &'static str,
        places: impl Fn() -> Vec<PathBuf> + Send + Sync + 'static,
        read: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            what,
            places: Box::new(places),
            read: Box::new(read),
            state: Mutex::new(State {
                seen: Vec::new(),
                value: None,
                problem: None,
            }),
        }
    }

    /// What is in the files. Those that changed are read again; while they are of no use, what was in them before stays in
    /// force, and the log says so.
    ///
    /// # Errors
    /// A sentence, where they were never of use.
    pub(crate) fn look(&self) -> Result<Arc<T>, String> {
        let seen: Stamps = (self.places)().into_iter().flat_map(stamps).collect();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = state.value.clone() else {
            let first = Arc::new((self.read)()?);
            *state = State {
                seen,
                value: Some(Arc::clone(&first)),
                problem: None,
            };
            return Ok(first);
        };
        if state.seen == seen {
            return Ok(before);
        }
        state.seen = seen;
        match (self.read)() {
            Ok(new) => {
                tracing::info!("{} changed and was read again", self.what);
                let new = Arc::new(new);
                state.value = Some(Arc::clone(&new));
                state.problem = None;
                Ok(new)
            }
            // Once for each change; where only one of two files is new yet, the other's change follows.
            Err(problem) => {
                let problem = format!("{problem}; what was read before stays in force");
                tracing::warn!("{problem}");
                state.problem = Some(problem);
                Ok(before)
            }
        }
    }

    /// Why what was read before is in force, where the files were of no use at the last look.
    pub(crate) fn problem(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.problem.clone()
    }

    /// The same, for whoever must not wait for a disk.
    ///
    /// # Errors
    /// As [`Followed::look`].
    pub(crate) async fn current(self: &Arc<Self>) -> Result<Arc<T>, String> {
        let this = Arc::clone(self);
        let looked = spawn_blocking(move || this.look()).await;
        looked.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// What changes with this file, or with what is in this folder.
fn stamps(place: PathBuf) -> Stamps {
    let mut inside: Stamps = folder(&place)
        .into_iter()
        .map(|path| {
            let stamp = stamp(&path);
            (path, stamp)
        })
        .collect();
    let own = stamp(&place);
    inside.insert(0, (place, own));
    inside
}

/// What lies in a folder, sorted; nothing where it is none.
pub(crate) fn folder(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec(),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(path: &Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    #[test]
    fn a_change_is_read_a_bad_one_changes_nothing_and_a_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, link) = (
            dir.path().join("one"),
            dir.path().join("two"),
            dir.path().join("link"),
        );
        let (place, file) = (link.clone(), link.clone());
        let followed = Followed::new(
            "the text",
            move || vec![place.clone()],
            move || match fs::read_to_string(&file) {
                Ok(text) if text != "bad" => Ok(text),
                _ => Err("the text is of no use".to_owned()),
            },
        );
        assert_eq!(followed.look().unwrap_err(), "the text is of no use");
        symlink(&one, &link).unwrap();
        put(&one, "first");
        let first = followed.look().unwrap();
        assert_eq!(*first, "first");
        assert!(Arc::ptr_eq(&first, &followed.look().unwrap()), "not read again");
        put(&one, "bad");
        assert!(Arc::ptr_eq(&first, &followed.look().unwrap()));
        fs::remove_file(&one).unwrap();
        assert!(Arc::ptr_eq(&first, &followed.look().unwrap()));
        put(&two, "second");
        fs::remove_file(&link).unwrap();
        symlink(&two, &link).unwrap();
        assert_eq!(*followed.look().unwrap(), "second");
    }

    #[test]
    fn of_a_folder_what_is_in_it_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (place, inside) = (dir.path().to_owned(), dir.path().to_owned());
        let followed = Followed::new(
            "the folder",
            move || vec![place.clone()],
            move || {
                let texts = folder(&inside)
                    .into_iter()
                    .map(|path| fs::read_to_string(path).unwrap());
                Ok(texts.collect::<String>())
            },
        );
        assert_eq!(*followed.look().unwrap(), "");
        fs::write(dir.path().join("a"), "1").unwrap();
        assert_eq!(*followed.look().unwrap(), "1");
        // In place, which leaves the folder itself as it was.
        fs::write(dir.path().join("a"), "12").unwrap();
        assert_eq!(*followed.look().unwrap(), "12");
    }
}
