//! The folders that the daemon needs, to which the kernel keeps it from its start on (Landlock).
//!
//! Rules name folders rather than files: whoever replaces a file puts another one, with the same name, in its folder.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::{Component, Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::{AtFlags, CWD, accessat};

use crate::{config::Config, file, http_client::authorities, manifest::listing};

/// What programs and libraries read of a system: its configuration, its zones and authorities, its names, itself.
const SYSTEM: &[&str] = &[
    "/bin",
    "/dev",
    "/etc",
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/proc",
    "/run/NetworkManager",
    "/run/nscd",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/sys",
    "/usr",
    "/var/lib/sss",
];

/// Links to what may lie elsewhere, and is replaced.
const SYSTEM_FILES: &[&str] = &["/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"];

/// How often a link may lead to another one, as Linux has it.
const MAX_LINKS: usize = 40;

/// The rules are of this version of the kernel's interface, as far as the kernel has it.
const RULES: ABI = ABI::V6;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const DEVICE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile});

/// Folders to read, and folders to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// What may be read.
    pub read: BTreeSet<PathBuf>,
    /// What may be read, made, changed and removed.
    pub write: BTreeSet<PathBuf>,
}

impl Reach {
    /// What a daemon with this configuration needs, given the environment's variables.
    pub fn of(config: &Config, variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut reach = Self::default();
        for folder in SYSTEM.iter().map(Path::new) {
            reach.read.extend(folder.exists().then(|| folder.to_owned()));
        }
        for file in SYSTEM_FILES.iter().map(Path::new) {
            reach.add_file(file);
        }
        for file in config.named_files() {
            reach.add_file(&file);
        }
        for file in authorities::places(&variable) {
            reach.add_file(&file);
        }
        let agents_dir = config.agents_dir();
        for manifest in listing::survey(&agents_dir).unwrap_or_default().names {
            reach.add_file(&agents_dir.join(manifest));
        }
        let credentials = variable("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        reach
            .read
            .extend(credentials.filter(|folder| folder.is_absolute()));
        // A node has none.
        if config.upstream.is_none() {
            reach.write.insert(there(&config.state_dir));
        }
        reach.write.insert(there(&config.runtime_dir));
        // Where the daemon could make it anew when it is gone, it does.
        let above = config
            .runtime_dir
            .parent()
            .filter(|above| above.parent().is_some());
        reach
            .write
            .extend(above.filter(|above| is_writable(above)).map(Path::to_owned));
        reach
    }

    /// The folder of a file, or the folder that it is; and on the way there, which is gone with every link followed, each
    /// folder that holds a link, since what that leads to is exchanged with it (`..data` of the kubelet's volumes).
    fn add_file(&mut self, file: &Path) {
        let mut way: VecDeque<PathBuf> = parts(file);
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = way.pop_front() {
            let next = at.join(&part);
            match fs::read_link(&next) {
                Ok(target) if links < MAX_LINKS => {
                    links += 1;
                    self.add_holder_of_links(&at);
                    let mut further = parts(&target);
                    further.append(&mut way);
                    way = further;
                }
                _ if part == Path::new("..") => {
                    at.pop();
                }
                _ => at = next,
            }
        }
        if at.is_dir() {
            self.read.insert(at.clone());
        }
        self.read.extend(at.parent().map(there));
    }

    /// The links in `/` and `/var` (`/lib`, `/var/run`) are the system's own, and are not exchanged.
    fn add_holder_of_links(&mut self, folder: &Path) {
        if ![Path::new("/"), Path::new("/var")].contains(&folder) {
            self.read.insert(folder.to_owned());
        }
    }
}

/// The parts of a path; the first of a whole one leads to the root, wherever it is joined to.
fn parts(path: &Path) -> VecDeque<PathBuf> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.map(|part| PathBuf::from(part.as_os_str())).collect()
}

/// The folder, or the nearest one above it that is there: it may come later.
fn there(folder: &Path) -> PathBuf {
    let mut above = folder.ancestors();
    above.find(|folder| folder.exists()).unwrap_or(folder).to_owned()
}

fn is_writable(folder: &Path) -> bool {
    accessat(CWD, folder, rustix::fs::Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// Has the kernel open nothing else to this thread and to those that it starts, run no program, and send no signal to
/// others. False where this kernel cannot.
///
/// # Errors
/// When the kernel does not take it.
pub fn keep_to(reach: &Reach) -> Result<bool, RulesetError> {
    let ruleset = Ruleset::default()
        // Without it no file could be moved to another folder.
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RULES))?
        .scope(scope())?;
    let never = make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | IoctlDev});
    let status = ruleset
        .create()?
        .add_rules(rules(&reach.read, READ))?
        .add_rules(rules(&reach.write, AccessFs::from_all(RULES) & !never))?
        .add_rules(rules([&PathBuf::from("/dev/null")], DEVICE))?
        .restrict_self()?;
    let is_kept = status.ruleset != RulesetStatus::NotEnforced;
    if is_kept {
        file::keep_within(reach.read.iter().chain(&reach.write).cloned());
    }
    Ok(is_kept)
}

/// A service manager may listen at an abstract socket.
fn scope() -> BitFlags<Scope> {
    let manager = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
    let scope = Scope::from_all(RULES);
    if manager.starts_with('@') {
        scope & !Scope::AbstractUnixSocket
    } else {
        scope
    }
}

/// The same access below each of these. What is gone meanwhile, or may not be looked at, cannot be reached anyway.
fn rules<'a>(
    paths: impl IntoIterator<Item = &'a PathBuf>,
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<PathFd>, RulesetError>> {
    let opened = paths.into_iter().filter_map(|path| PathFd::new(path).ok());
    opened.map(move |opened| Ok(PathBeneath::new(opened, access)))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, ErrorKind},
        os::unix::fs::symlink,
        process::Command,
    };

    use rustix::process::{getppid, test_kill_process};
    use tempfile::TempDir;

    use super::*;
    use crate::testing::{CASE, in_a_child};

    /// Folders `read`, `write` and `other`, each with a file `x` in it.
    fn scene() -> TempDir {
        let scene = tempfile::tempdir().unwrap();
        for folder in ["read", "write", "other"] {
            fs::create_dir(scene.path().join(folder)).unwrap();
            fs::write(scene.path().join(folder).join("x"), folder).unwrap();
        }
        scene
    }

    fn is_refused<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn the_kernel_opens_what_is_needed_and_nothing_else() {
        if std::env::var(CASE).is_err() {
            let test = "lifecycle::file_access::tests::the_kernel_opens_what_is_needed_and_nothing_else";
            in_a_child(test, "kept");
            return;
        }
        let scene = scene();
        let at = |path: &str| scene.path().join(path);
        symlink(at("other/x"), at("read/link")).unwrap();
        let reach = Reach {
            read: [at("read"), at("gone"), "/usr".into(), "/lib".into()].into(),
            write: [at("write")].into(),
        };
        assert_eq!(
            file::beyond(&at("other/x")),
            None,
            "it is not kept to anything yet"
        );
        assert!(keep_to(&reach).unwrap(), "this kernel has Landlock");

        let in_another_thread = std::thread::spawn({
            let other = at("other/x");
            move || fs::read(other).map(drop)
        });
        assert!(is_refused(in_another_thread.join().unwrap()));
        assert_eq!(fs::read_to_string(at("read/x")).unwrap(), "read");
        assert!(is_refused(fs::write(at("read/x"), "")));
        assert!(is_refused(fs::write(at("read/new"), "")));
        assert!(is_refused(fs::remove_file(at("read/x"))));
        assert!(is_refused(fs::read(at("other/x"))));
        assert!(is_refused(fs::read_dir(scene.path())));
        assert!(is_refused(fs::create_dir(at("new"))));

        fs::create_dir(at("write/a")).unwrap();
        fs::write(at("write/a/y"), "y").unwrap();
        fs::rename(at("write/a/y"), at("write/y")).unwrap();
        symlink("y", at("write/link")).unwrap();
        std::os::unix::net::UnixListener::bind(at("write/socket")).unwrap();
        fs::remove_dir(at("write/a")).unwrap();
        assert_eq!(fs::read_to_string(at("write/link")).unwrap(), "y");
        fs::write("/dev/null", "x").unwrap();
        assert!(is_refused(Command::new("/usr/bin/env").output()));
        assert!(test_kill_process(getppid().unwrap()).is_err());

        for path in [at("other/x"), at("read/link")] {
            let refused = file::open(&path).unwrap_err();
            let expected = format!(
                "{} is in no folder",
                at("other/x").canonicalize().unwrap().display()
            );
            assert!(refused.to_string().starts_with(&expected), "{refused}");
        }
        assert_eq!(file::beyond(&at("read/x")), None);
        assert_eq!(file::beyond(&at("write/later/x")), None);
    }

    #[test]
    fn what_a_configuration_names_is_reached_through_every_link() {
        let scene = scene();
        let at = |path: &str| scene.path().join(path).canonicalize().unwrap();
        fs::create_dir_all(scene.path().join("etc/agents.d")).unwrap();
        fs::create_dir(scene.path().join("other/..1")).unwrap();
        fs::write(scene.path().join("other/..1/key"), "").unwrap();
        symlink("..1", scene.path().join("other/..data")).unwrap();
        symlink("..data/key", scene.path().join("other/key")).unwrap();
        symlink(at("other").join("key"), at("etc").join("master.key")).unwrap();
        symlink(at("read/x"), at("etc/agents.d").join("a.yaml")).unwrap();
        fs::write(
            at("etc").join("config.toml"),
            format!(
                "state_dir = '{0}/write'\nruntime_dir = '{0}/run/broker'\n\
                 key.previous = ['file:{0}/later/old.key', 'file:{0}/loop']\n\
                 [remote]\nlisten = '127.0.0.1:1'\ncertificate_file = '{0}/tls/..data/tls.crt'\nkey_file = '{0}/tls/..data/tls.key'\n\
                 client_ca_file = '{0}/tls/..data/ca.crt'\n",
                at(".").display()
            ),
        )
        .unwrap();
        fs::create_dir_all(at(".").join("tls/..2026")).unwrap();
        symlink("..2026", at("tls").join("..data")).unwrap();
        symlink("loop", at(".").join("loop")).unwrap();
        let config = Config::load(Some(&at("etc/config.toml")), std::iter::empty()).unwrap();
        let credentials = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| "/run/credentials/x".into());
        let reach = Reach::of(&config, credentials);

        let own = reach.read.iter().filter(|folder| folder.starts_with(at(".")));
        let own: BTreeSet<_> = own.map(|folder| folder.canonicalize().unwrap()).collect();
        // What is not there yet comes into the folder above.
        let expected = [
            ".",
            "etc",
            "etc/agents.d",
            "other",
            "other/..1",
            "read",
            "tls",
            "tls/..2026",
        ];
        let expected = expected.map(at);
        assert_eq!(own, expected.into());
        assert!(reach.read.contains(Path::new("/run/credentials/x")));
        assert!(reach.read.contains(Path::new("/etc")));
        assert_eq!(reach.write, [at("."), at("write")].into());
    }
}
