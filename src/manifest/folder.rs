//! The folder of manifests, read as a whole.
//!
//! A file whose new content is bad keeps its last good version in force, and a folder that cannot be read
//! keeps everything in force: an editor's half-written file or a hiccup of a volume takes no agent away.
//!
//! Manifests decide who gets which token. So what others than root and the daemon's user may write is bad as well,
//! the folder and each file.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, Metadata, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::OFlags;

use super::{
    document::{MAX_BYTES, Manifest},
    listing::{self, Listing},
};
use crate::{
    capability::Catalog,
    config::writers,
    file,
    id::AgentName,
    text::{self, ShowPath},
};

/// A file is read again at the slow look of this number after it was read, for the last time.
const SETTLED: u8 = 2;
/// How often the folder is listed at most when files are missing from the list.
const LOOKS: usize = 3;

/// A manifest and the file that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// What it declares.
    pub manifest: Arc<Manifest>,
    /// Where it was read.
    pub path: Arc<Path>,
}

/// A file, or the folder, that needs a person's attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestProblem {
    /// Which one.
    pub path: PathBuf,
    /// What is wrong with it, beginning with its path.
    pub message: String,
}

/// What is in force after the folder was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// The agents; one that is unchanged keeps its allocation.
    pub manifests: BTreeMap<AgentName, Arc<ManifestFile>>,
    /// What is wrong, in the order of the files' names.
    pub problems: Vec<ManifestProblem>,
    /// The folder, where something in it could not be read since it is followed: it may declare agents that are not among
    /// these.
    pub unread: Option<Arc<Path>>,
}

/// Identity and version of a file's content, as far as the file system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What is known about one file.
#[derive(Default)]
struct Entry {
    /// Of what was read last; `None` when it could not be read.
    stamp: Option<Stamp>,
    /// It has to be read again, whatever its stamp is.
    distrusted: bool,
    /// It is read once more when it was looked at so often: a change right after it was read may show in none of its times.
    looks: u8,
    good: Option<Arc<ManifestFile>>,
    problem: Option<Box<str>>,
}

/// The files that declare one agent, by name.
type Claims<'a> = Vec<(&'a Arc<OsStr>, &'a Arc<ManifestFile>)>;

/// What a look at one file found.
enum Found {
    Gone,
    Unchanged,
    Read(Stamp, Result<Manifest, String>),
    Unreadable(String),
}

/// A folder of manifests and what was read from it so far.
pub struct Folder {
    path: PathBuf,
    catalog: Arc<Catalog>,
    /// Who may write it, besides root.
    user: u32,
    /// What lies in it and is not read: why.
    ignored: Vec<(PathBuf, String)>,
    entries: BTreeMap<Arc<OsStr>, Entry>,
    /// Which file each agent comes from.
    in_force: BTreeMap<AgentName, Arc<OsStr>>,
    unreadable: Option<String>,
    is_absent: bool,
    last: Option<Scan>,
}

impl Folder {
    /// The folder at `path`, not read yet. It need not exist.
    pub fn new(path: impl Into<PathBuf>, catalog: Arc<Catalog>) -> Self {
        Self {
            path: path.into(),
            catalog,
            user: writers::own_user(),
            ignored: Vec::new(),
            entries: BTreeMap::new(),
            in_force: BTreeMap::new(),
            unreadable: None,
            is_absent: false,
            last: None,
        }
    }

    /// The same as a daemon of another user reads it.
    #[must_use]
    pub fn of_user(self, user: u32) -> Self {
        Self { user, ..self }
    }

    /// Why the folder as a whole could not be read at the last scan.
    pub fn trouble(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// True when it was not there at the last scan.
    pub fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what changed. Files whose identity, size and times are the same are not opened, unless they were
    /// named to [`Folder::distrust`]: times are too coarse to tell two quick writes apart. Blocks on the disk.
    pub fn scan(&mut self) -> Scan {
        // A file that is renamed while the folder is listed can appear under neither name. So when one is
        // missing, the folder is listed again before its agent counts as gone.
        for _ in 0..LOOKS {
            match listing::list(&self.path, self.user) {
                Ok(Listing { names, ignored }) => {
                    self.is_absent = false;
                    self.unreadable = None;
                    self.ignored = ignored;
                    if !self.update(names) {
                        break;
                    }
                }
                Err(error) => {
                    self.is_absent = error.kind() == ErrorKind::NotFound;
                    // It need not exist, unless something says that it should.
                    let is_expected = !self.is_absent || !self.entries.is_empty() || self.is_link();
                    self.unreadable = is_expected.then(|| self.unreadable_folder(&error));
                    break;
                }
            }
        }
        let scan = self.outcome();
        self.last = Some(scan.clone());
        scan
    }

    /// Like [`Folder::scan`]; `None` when the outcome is the same as of the scan before.
    pub fn scan_if_changed(&mut self) -> Option<Scan> {
        let last = self.last.take();
        let scan = self.scan();
        (last.as_ref() != Some(&scan)).then_some(scan)
    }

    /// Time has passed: the next scan reads the files again that were read only a while ago.
    pub fn age(&mut self) {
        for entry in self.entries.values_mut() {
            if entry.looks < SETTLED {
                entry.looks += 1;
                entry.distrusted |= entry.looks == SETTLED;
            }
        }
    }

    /// The next scan reads this file again, whatever its times say.
    pub fn distrust(&mut self, name: &OsStr) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.distrusted = true;
        }
    }

    /// The next scan reads every file again.
    pub fn distrust_all(&mut self) {
        for entry in self.entries.values_mut() {
            entry.distrusted = true;
        }
    }

    /// Looks at these files. True when one that was known is missing.
    fn update(&mut self, names: Vec<OsString>) -> bool {
        let mut before = std::mem::take(&mut self.entries);
        let mut missing = false;
        let entry = |name: OsString| {
            let (name, mut entry) = before
                .remove_entry(name.as_os_str())
                .unwrap_or_else(|| (name.into(), Entry::default()));
            let path = self.path.join(&*name);
            match look(&self.catalog, &path, self.user, entry.known()) {
                Found::Gone => {
                    missing = true;
                    return None;
                }
                Found::Unchanged => {}
                Found::Unreadable(message) => entry.fails(None, &path, &message),
                Found::Read(stamp, Err(message)) => entry.fails(Some(stamp), &path, &message),
                Found::Read(stamp, Ok(manifest)) => entry.succeeds(stamp, &path, manifest),
            }
            Some((name, entry))
        };
        // Collected, a sorted map takes half the memory that it takes when it grows.
        self.entries = names.into_iter().filter_map(entry).collect();
        missing || !before.is_empty()
    }

    fn is_link(&self) -> bool {
        self.path.is_symlink()
    }

    fn unreadable_folder(&self, error: &io::Error) -> String {
        let path = self.path.shown();
        let kept = match self.in_force.len() {
            0 => String::new(),
            agents => format!("; the agents that it declared ({agents}) stay in force"),
        };
        if self.is_absent && self.is_link() {
            format!(
                "{path}: the folder is a symbolic link to one that does not exist{kept}: correct the link"
            )
        } else if self.is_absent {
            format!("{path}: the folder is gone{kept}: create it again, empty to remove them")
        } else if let Some(reason) = error.get_ref() {
            format!("{path}: the folder is not followed, because {reason}{kept}")
        } else {
            format!("{path}: the folder cannot be read ({error}){kept}")
        }
    }

    /// Settles which file speaks for each agent, and gathers the problems.
    fn outcome(&mut self) -> Scan {
        let mut claims: BTreeMap<&AgentName, Claims<'_>> = BTreeMap::new();
        for (name, entry) in &self.entries {
            if let Some(file) = &entry.good {
                claims.entry(&file.manifest.agent).or_default().push((name, file));
            }
        }
        let mut rejected = BTreeMap::new();
        let settle = |(agent, files): (&AgentName, Claims<'_>)| {
            // Whoever speaks for the agent now goes on doing so; else the first by name.
            let holder = self.in_force.get(agent);
            let chosen = files
                .iter()
                .position(|(name, _)| Some(*name) == holder)
                .unwrap_or(0);
            let (name, winner) = files[chosen];
            for (other, file) in files.iter().filter(|(other, _)| *other != name) {
                let (path, winner) = (file.path.shown(), winner.path.shown());
                let message = format!(
                    "{path}: agent `{agent}` is already declared in {winner}, which stays in force: remove one \
                     of the two"
                );
                rejected.insert(Arc::clone(other), message);
            }
            (agent.clone(), Arc::clone(name), Arc::clone(winner))
        };
        let settled: Vec<_> = claims.into_iter().map(settle).collect();
        let problems = self.problems(&rejected);
        let manifests = settled
            .iter()
            .map(|(agent, _, file)| (agent.clone(), Arc::clone(file)))
            .collect();
        self.in_force = settled
            .into_iter()
            .map(|(agent, name, _)| (agent, name))
            .collect();
        let is_unread = |entry: &Entry| entry.good.is_none();
        let unread = self.unreadable.is_some() || self.entries.values().any(is_unread);
        Scan {
            manifests,
            problems,
            unread: unread.then(|| self.path.as_path().into()),
        }
    }

    fn problems(&self, rejected: &BTreeMap<Arc<OsStr>, String>) -> Vec<ManifestProblem> {
        let mut problems = Vec::new();
        if let Some(message) = &self.unreadable {
            problems.push(problem(self.path.clone(), message));
        }
        for (path, message) in &self.ignored {
            problems.push(problem(path.clone(), message));
        }
        for (name, entry) in &self.entries {
            let rejected = rejected.get(name).map(String::as_str);
            for message in entry.problem.as_deref().into_iter().chain(rejected) {
                problems.push(problem(self.path.join(&**name), message));
            }
        }
        problems
    }
}

impl Entry {
    /// The stamp with which the file is as it was read.
    fn known(&self) -> Option<Stamp> {
        self.stamp.filter(|_| !self.distrusted)
    }

    /// What was read has this stamp. When that is another one than before, it is read once more later.
    fn stamped(&mut self, stamp: Option<Stamp>) {
        if self.stamp != stamp {
            self.looks = 0;
        }
        self.stamp = stamp;
        self.distrusted = false;
    }

    fn fails(&mut self, stamp: Option<Stamp>, path: &Path, message: &str) {
        self.stamped(stamp);
        let kept = if self.good.is_some() {
            "; the version read before stays in force"
        } else {
            ""
        };
        // Errors of the reader begin with the path already.
        let path = path.shown().to_string();
        let problem = if message.starts_with(&path) {
            format!("{message}{kept}")
        } else {
            format!("{path}: {message}{kept}")
        };
        self.problem = Some(problem.into());
    }

    fn succeeds(&mut self, stamp: Stamp, path: &Path, manifest: Manifest) {
        self.stamped(Some(stamp));
        self.problem = None;
        if self.good.as_ref().is_none_or(|good| *good.manifest != manifest) {
            let manifest = Arc::new(manifest);
            let path = path.into();
            self.good = Some(Arc::new(ManifestFile { manifest, path }));
        }
    }
}

fn problem(path: PathBuf, message: &str) -> ManifestProblem {
    let message = message.to_owned();
    ManifestProblem { path, message }
}

fn look(catalog: &Catalog, path: &Path, user: u32, known: Option<Stamp>) -> Found {
    // Symbolic links are followed: a mounted ConfigMap consists of them.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return failed(path, &error),
    };
    if !metadata.is_file() {
        return Found::Unreadable("it is not a regular file".to_owned());
    }
    if known == Some(Stamp::of(&metadata)) {
        return Found::Unchanged;
    }
    match read(path, user) {
        Err(error) => failed(path, &error),
        Ok((stamp, content)) => {
            let manifest = content.and_then(|content| parse(catalog, path, &content));
            Found::Read(stamp, manifest)
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Found {
    match error.kind() {
        ErrorKind::NotFound if fs::symlink_metadata(path).is_ok() => {
            Found::Unreadable("it is a symbolic link to a file that does not exist".to_owned())
        }
        ErrorKind::NotFound => Found::Gone,
        _ => Found::Unreadable(format!("it cannot be read: {error}")),
    }
}

/// The content, or why it does not count.
fn read(path: &Path, user: u32) -> io::Result<(Stamp, Result<Vec<u8>, String>)> {
    // A FIFO put there since must not hold up the others.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| file::explained(path, error))?;
    // Before the content: what changes meanwhile is seen as a change.
    let stamp = Stamp::of(&file.metadata()?);
    if let Some(reason) = writers::others(path, &file, user) {
        return Ok((stamp, Err(reason)));
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok((stamp, Ok(content)))
}

fn parse(catalog: &Catalog, path: &Path, content: &[u8]) -> Result<Manifest, String> {
    if content.len() > MAX_BYTES {
        return Err(format!(
            "it is longer than {MAX_BYTES} bytes, the most that a manifest has"
        ));
    }
    let text = text::of_file(content)?;
    Manifest::from_yaml_with(catalog, text, &path.shown().to_string()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
