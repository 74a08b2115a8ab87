//! What runs a file that the kernel does not run by itself, and why one is not run.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::{
    client::exit::{Exit, Failure},
    file,
    text::ShowPath,
};

/// Runs scripts without a first line that names an interpreter, as shells and `execvp` have it.
pub(super) const SHELL: &str = "/bin/sh";

/// True for an error that says that the file is no program, and names no interpreter.
pub(super) fn is_plain_script(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NOEXEC)
}

/// The file that a command's name means, as `execvp` finds it.
pub(super) fn file_of(program: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(program.into()).filter(|path: &PathBuf| path.exists());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| {
            fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
}

/// Why the command cannot be run.
pub(super) fn cannot_run(program: &OsStr, error: &io::Error) -> Failure {
    let shown = program.shown();
    let failed = |exit, why: String| Failure::new(exit, format!("`{shown}` cannot be run: {why}"));
    match (error.kind(), file_of(program)) {
        (io::ErrorKind::NotFound, None) => {
            failed(Exit::CommandNotFound, "there is no such command".to_owned())
        }
        (io::ErrorKind::NotFound, Some(file)) => failed(Exit::CannotExecute, missing(&file)),
        (io::ErrorKind::PermissionDenied, _) => {
            failed(Exit::CannotExecute, "it is not an executable file".to_owned())
        }
        _ if is_plain_script(error) => failed(
            Exit::CannotExecute,
            format!(
                "it is no program for this machine, nor a script: its first line names no interpreter, and there is no {SHELL}"
            ),
        ),
        _ => failed(Exit::CannotExecute, error.to_string()),
    }
}

/// What is not there although the file is.
fn missing(file: &Path) -> String {
    match interpreter(file) {
        Some(name) if name.ends_with('\r') => format!(
            "its first line names the interpreter `{}`: its lines end as those of Windows do; write them anew with \
             plain line ends",
            name.escape_debug()
        ),
        Some(name) => format!("its first line names the interpreter `{name}`, which is not there"),
        None => "the loader that it was built for is not there: it was made for another system".to_owned(),
    }
}

/// The interpreter in the first line of a script.
fn interpreter(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    // The kernel reads no more of it.
    file::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let line = line.trim_start_matches([' ', '\t']);
    line.split([' ', '\t']).next().map(str::to_owned)
}
