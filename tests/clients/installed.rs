//! Programs that `tests/run` installs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A Python program of `tests/python`, with the packages that it needs.
#[track_caller]
pub(crate) fn python(program: &str) -> Command {
    let mut command = python_alone();
    command.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/python")
            .join(program),
    );
    command
}

/// The same Python, for a program from elsewhere.
#[track_caller]
pub(crate) fn python_alone() -> Command {
    let mut command = Command::new(given("TOKEN_BROKER_TEST_PYTHON", ".tools/venv/bin/python"));
    command
        .env_clear()
        // Neither files beside the sources, nor packages of the user's own.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONNOUSERSITE", "1")
        .stdin(Stdio::null());
    command
}

/// A Node program of `tests/node`, with the packages that it needs.
#[track_caller]
pub(crate) fn node(program: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = given("TOKEN_BROKER_TEST_NODE_PATH", ".tools/node/node_modules");
    let mut command = Command::new("node");
    let path = std::env::var_os("PATH").unwrap_or_default();
    command
        .arg(root.join("tests/node").join(program))
        .env_clear()
        .env("PATH", path)
        .env("NODE_PATH", packages)
        .stdin(Stdio::null());
    command
}

/// The Go program of `tests/go`.
#[track_caller]
pub(crate) fn go() -> Command {
    let mut command = Command::new(given("TOKEN_BROKER_TEST_GO_AGENT", ".tools/go/library_agent"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// The Java program of `tests/java`, with this version of the library that finds credentials.
#[track_caller]
pub(crate) fn java(version: &str) -> Command {
    let folder = given("TOKEN_BROKER_TEST_JAVA", ".tools/java");
    let mut command = Command::new("java");
    let classes = format!(
        "{0}/{version}/classes:{0}/{version}/dependency/*",
        folder.display()
    );
    command
        .args(["-cp", &classes, "LibraryAgent"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null());
    command
}

/// A Ruby program of `tests/ruby`, with the system's Ruby and its packages.
#[track_caller]
pub(crate) fn ruby(program: &str) -> Command {
    let mut command = Command::new(given("TOKEN_BROKER_TEST_RUBY", "/usr/bin/ruby"));
    command
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/ruby")
                .join(program),
        )
        .env_clear()
        .stdin(Stdio::null());
    command
}

/// The Rust program of `tests/rust`.
#[track_caller]
pub(crate) fn rust() -> Command {
    let mut command = Command::new(given("TOKEN_BROKER_TEST_RUST_AGENT", ".tools/rust/library-agent"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// The C++ program of `tests/cpp`, which is on gRPC.
#[track_caller]
pub(crate) fn cpp() -> Command {
    let mut command = Command::new(given("TOKEN_BROKER_TEST_CPP_AGENT", ".tools/cpp/library_agent"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Where `tests/run` put something.
#[track_caller]
fn given(variable: &str, usually: &str) -> PathBuf {
    let usually = Path::new(env!("CARGO_MANIFEST_DIR")).join(usually);
    let path = std::env::var_os(variable).map_or(usually, PathBuf::from);
    assert!(path.exists(), "{} is not there: run tests/run", path.display());
    path
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
