//! Programs that `tests/run` installs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A Python program of `tests/python`, with the packages that it needs.
#[track_caller]
pub(crate) fn python(program: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter = std::env::var_os("TOKEN_BROKER_TEST_PYTHON").map_or_else(
        || root.join(".tools/venv/bin/python"),
        |given| PathBuf::from(&given),
    );
    assert!(
        interpreter.exists(),
        "{} is not there: run tests/run",
        interpreter.display()
    );
    let mut command = Command::new(interpreter);
    command
        .arg(root.join("tests/python").join(program))
        .env_clear()
        // Neither files beside the sources, nor packages of the user's own.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONNOUSERSITE", "1")
        .stdin(Stdio::null());
    command
}

/// `curl`, which reads no configuration.
#[track_caller]
pub(crate) fn curl() -> Command {
    let mut command = Command::new("curl");
    command.arg("--disable").stdin(Stdio::null());
    let mut version = Command::new("curl");
    let found = version.arg("--version").output().is_ok();
    assert!(found, "curl is not there: run tests/run");
    command
}
