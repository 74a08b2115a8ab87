//! `backup`: the database as one file.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use tempfile::NamedTempFile;

use super::{connections, options::Global, output::Output, progress, settings};
use crate::{
    client::{
        admin::{self, Admin, refused, unreachable},
        exit::{Exit, Failure, Outcome},
    },
    file,
    proto::v1::BackupDatabaseRequest,
    sqlite_store::SqliteStore,
    store::StoreError,
    text::ShowPath,
};

const EXAMPLES: &str = "\
Examples:
  token-broker backup /var/backups/token-broker/$(date +%F).db
  token-broker backup --force /var/backups/token-broker/latest.db

The daemon goes on meanwhile. FILE is written as a whole or not at all, for this user alone (mode 0600). Secrets in it are \
sealed: it is of no use without the master key, so keep a copy of that too, in another place. Where no daemon runs, the \
database in state_dir is copied by the command itself.";

// Where the backup goes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BackupArgs {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace FILE if it is there
    #[arg(short, long)]
    force: bool,
}

/// Runs `backup`.
pub(super) async fn run(args: &BackupArgs, global: &Global, output: &mut Output) -> Outcome {
    let mut new = NewFile::beside(&args.file, args.force)?;
    if global.remote()?.is_some() {
        let mut admin = connections::admin(global, output).await?;
        progress::during(output, "copying the database", new.receive(&mut admin)).await?;
        return report(new, args, output);
    }
    let socket = settings::admin_socket(global)?;
    match admin::open(&socket).await {
        Ok(mut admin) => {
            progress::during(output, "copying the database", new.receive(&mut admin)).await?;
        }
        Err(error) if is_stopped(&error) && !global.names_daemon() => {
            let config = settings::load(global)?;
            if let Some(store) = &config.store {
                return Err(Failure::misconfigured(format!(
                    "the records are in {}: back that database up with its own tools, such as pg_dump; the keyring is in it, and \
                     what wraps that is kept elsewhere, as before",
                    store.shown
                )));
            }
            let state_dir = config.state_dir;
            output.note(&format!(
                "No daemon answers on {}: the database in {} is copied as it is.",
                socket.shown(),
                state_dir.shown()
            ));
            new.copy(&state_dir, &socket)?;
        }
        Err(error) => return Err(unreachable(&socket, &error)),
    }
    report(new, args, output)
}

/// Puts the backup where it belongs, and says so.
fn report(new: NewFile<'_>, args: &BackupArgs, output: &mut Output) -> Outcome {
    let bytes = new.put()?;
    let file = args.file.shown();
    if output.is_json() {
        output.json(&serde_json::json!({ "file": file.to_string(), "bytes": bytes }))?;
    } else {
        output.line(&format!("Backed up the database to {file} ({bytes} bytes)."))?;
        output.line("It is of no use without the master key: keep a copy of that too, in another place.")?;
    }
    Ok(Exit::Ok)
}

fn is_stopped(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

/// A file that is not there before all of it is.
struct NewFile<'a> {
    path: &'a Path,
    folder: &'a Path,
    replaces: bool,
    written: NamedTempFile,
}

impl<'a> NewFile<'a> {
    fn beside(path: &'a Path, replaces: bool) -> Result<Self, Failure> {
        may_be_written(path, replaces)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // For this user alone, as every such file is.
        let written = tempfile::Builder::new()
            .prefix(".token-broker-")
            .tempfile_in(folder)
            .map_err(|error| unmade(path, folder, &error))?;
        Ok(Self {
            path,
            folder,
            replaces,
            written,
        })
    }

    /// Takes what the daemon sends.
    async fn receive(&mut self, admin: &mut Admin) -> Result<(), Failure> {
        let request = admin.backup_database(BackupDatabaseRequest {});
        let mut pieces = request.await.map_err(refused)?.into_inner();
        let (mut received, mut size) = (0, 0);
        while let Some(piece) = pieces.message().await.map_err(refused)? {
            let file = self.written.as_file_mut();
            file.write_all(&piece.data)
                .map_err(|error| unwritten(self.path, &error))?;
            received += piece.data.len() as u64;
            size = piece.size;
        }
        if received == 0 || received != size {
            let message = format!("the daemon sent {received} of {size} bytes: nothing was written");
            return Err(Failure::new(Exit::Failed, message));
        }
        Ok(())
    }

    /// Copies the database in `state_dir`, on which no daemon runs.
    fn copy(&mut self, state_dir: &Path, socket: &Path) -> Result<(), Failure> {
        let copy = SqliteStore::copy_of_stopped(state_dir, self.folder).map_err(|error| match error {
            StoreError::Locked(_) => Failure::new(
                Exit::Unreachable,
                format!(
                    "a daemon runs on {} and nobody answers on its socket {}: look at its log",
                    state_dir.shown(),
                    socket.shown()
                ),
            ),
            other => Failure::new(Exit::Failed, other.to_string()),
        })?;
        let file = self.written.as_file_mut();
        let copied = File::open(copy.path()).and_then(|mut copy| io::copy(&mut copy, file));
        copied.map(drop).map_err(|error| unwritten(self.path, &error))
    }

    /// Puts it where it belongs, and on disk. Returns its size in bytes.
    fn put(self) -> Result<u64, Failure> {
        let (path, folder, replaces) = (self.path, self.folder, self.replaces);
        // It may have come meanwhile.
        may_be_written(path, replaces)?;
        let put = || -> io::Result<u64> {
            self.written.as_file().sync_all()?;
            let file = if replaces {
                self.written.persist(path)
            } else {
                self.written.persist_noclobber(path)
            }?;
            File::open(folder)?.sync_all()?;
            Ok(file.metadata()?.len())
        };
        put().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => is_there(path),
            _ => unwritten(path, &error),
        })
    }
}

/// Refuses a place where something lies that a backup must not replace.
fn may_be_written(path: &Path, replaces: bool) -> Result<(), Failure> {
    let Ok(there) = path.symlink_metadata() else {
        return Ok(());
    };
    match file::other_kind(there.file_type()) {
        Some(kind) => Err(Failure::new(
            Exit::Failed,
            format!(
                "{} is {kind}, and a backup replaces nothing but regular files: name another file",
                path.shown()
            ),
        )),
        None if !replaces => Err(is_there(path)),
        None => Ok(()),
    }
}

fn is_there(path: &Path) -> Failure {
    let message = format!(
        "{} is there already: name another file, or give --force to replace it",
        path.shown()
    );
    Failure::new(Exit::Failed, message)
}

/// No file can be made in the folder.
fn unmade(path: &Path, folder: &Path, error: &io::Error) -> Failure {
    let (path, folder) = (path.shown(), folder.shown());
    let reason = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no folder {folder}: make it first (`mkdir -p {folder}`)")
        }
        io::ErrorKind::NotADirectory => format!("{folder} is no folder: name a file in one"),
        // Of the error itself, the name of a file that nobody knows is no help.
        kind => format!("no file can be made in {folder}: {kind}"),
    };
    Failure::new(Exit::Failed, format!("{path} cannot be written: {reason}"))
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("{} cannot be written: {error}", path.shown()),
    )
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::{
        super::{output::Format, testing::FakeAdmin},
        *,
    };

    fn to(file: &Path, force: bool) -> BackupArgs {
        BackupArgs {
            file: file.to_owned(),
            force,
        }
    }

    async fn back_up(pieces: &[&str], size: u64, args: &BackupArgs) -> (Outcome, String) {
        let admin = FakeAdmin {
            backup: pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect(),
            backup_size: size,
            ..FakeAdmin::default()
        };
        let server = admin.serve().await;
        let (mut output, out, _) = Output::captured(Format::Text);
        let outcome = run(args, &server.global(), &mut output).await;
        (outcome, out.text())
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[tokio::test]
    async fn what_the_daemon_sends_becomes_a_file_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        let (outcome, said) = back_up(&["abc", "de"], 5, &to(&file, false)).await;
        assert_eq!(outcome, Ok(Exit::Ok));
        assert!(said.contains("(5 bytes)"), "{said}");
        assert_eq!(fs::read(&file).unwrap(), b"abcde");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_stream_that_ends_early_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        let (outcome, _) = back_up(&["abc"], 5, &to(&file, false)).await;
        let failure = outcome.unwrap_err();
        assert!(failure.message.contains("3 of 5 bytes"), "{failure}");
        assert!(names(folder.path()).is_empty());
        let (outcome, _) = back_up(&[], 0, &to(&file, false)).await;
        assert_eq!(outcome.unwrap_err().exit, Exit::Failed);
        assert!(names(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn what_is_there_is_replaced_by_force_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        fs::write(&file, "before").unwrap();
        let (outcome, _) = back_up(&["new"], 3, &to(&file, false)).await;
        let failure = outcome.unwrap_err();
        assert!(failure.message.contains("--force"), "{failure}");
        assert_eq!(fs::read(&file).unwrap(), b"before");
        // Nor when the new one is not whole.
        let (outcome, _) = back_up(&["new"], 9, &to(&file, true)).await;
        assert!(outcome.is_err());
        assert_eq!(fs::read(&file).unwrap(), b"before");
        let (outcome, _) = back_up(&["new"], 3, &to(&file, true)).await;
        assert_eq!(outcome, Ok(Exit::Ok));
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.db"]);
    }

    #[tokio::test]
    async fn nothing_but_a_regular_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "before").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::Mode::from_raw_mode(0o600),
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, kind) in [
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("folder", "a folder"),
            ("fifo", "a FIFO"),
            ("socket", "a socket"),
        ] {
            let before = at(name).symlink_metadata().unwrap().file_type();
            for force in [true, false] {
                let (outcome, _) = back_up(&["new"], 3, &to(&at(name), force)).await;
                let said = outcome.unwrap_err().message;
                assert!(said.contains(&format!("{name} is {kind}")), "{said}");
            }
            assert_eq!(at(name).symlink_metadata().unwrap().file_type(), before);
        }
        assert_eq!(fs::read(at("file")).unwrap(), b"before");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("backups");
        let (outcome, _) = back_up(&["new"], 3, &to(&missing.join("a.db"), false)).await;
        let said = outcome.unwrap_err().message;
        let advice = format!(
            "there is no folder {0}: make it first (`mkdir -p {0}`)",
            missing.display()
        );
        assert!(said.ends_with(&advice), "{said}");
        fs::write(&missing, "").unwrap();
        let (outcome, _) = back_up(&["new"], 3, &to(&missing.join("a.db"), false)).await;
        let said = outcome.unwrap_err().message;
        assert!(said.contains("backups is no folder"), "{said}");
    }
}
