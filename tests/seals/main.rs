//! Seals against real parts, none of them written here: OpenBao's server with its Transit engine, and a plugin of Kubernetes' KMS v2
//! whose protocol, service and listener are `k8s.io/kms` and whose key is in SoftHSM (what is ours of it is in `go/main.go`).
//! `tests/run` installs both, and `swtpm` with `systemd-creds` for the TPM. `LoadCredentialEncrypted=` itself takes a systemd that
//! is the first process, and was not tried.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "../support/mod.rs"]
mod support;

mod bao;
mod daemon;
mod kms;
mod plugin;
mod tpm;
mod transit;

use std::path::{Path, PathBuf};

use token_broker::{
    config::{KeySection, TransitSection},
    seal::{Place, Seal, SealError, WrappedKey},
    secret::Key,
    vault::KeyId,
};

/// Where `tests/run` has installed a program.
fn installed(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder =
        std::env::var_os("TOKEN_BROKER_TEST_SEALS").map_or_else(|| root.join(".tools/seals"), PathBuf::from);
    let program = folder.join(name);
    assert!(
        program.exists(),
        "{} is not there: run tests/run",
        program.display()
    );
    program
}

/// The seal that a configuration names.
fn seal(source: &str, transit: Option<TransitSection>) -> Seal {
    let section = KeySection {
        source: source.parse().unwrap(),
        previous: Vec::new(),
        command_environment: Vec::new(),
        transit,
        keep_days: 90,
    };
    support::block_on(Seal::configured(&section.source, &section)).unwrap()
}

fn place(key: u8) -> Place<'static> {
    Place {
        store: "store_of_a_test",
        key: KeyId::from_bytes([key; 8]),
    }
}

fn secret() -> Key {
    Key::new([9; 32])
}

/// Why a seal is not there at the moment.
#[track_caller]
fn away<T>(answer: Result<T, SealError>) -> String {
    match answer.err() {
        Some(SealError::Away { reason, .. }) => reason,
        Some(other) => panic!("not away: {other}"),
        None => panic!("it answered"),
    }
}

/// What is wrong with what a seal gave.
#[track_caller]
fn refused<T>(answer: Result<T, SealError>) -> String {
    match answer.err() {
        Some(SealError::Refused { reason, .. } | SealError::Unfit { reason, .. }) => reason,
        Some(other) => panic!("not refused: {other}"),
        None => panic!("it answered"),
    }
}

fn wrap(seal: &Seal) -> WrappedKey {
    support::block_on(seal.wrap(&place(7), &secret())).unwrap()
}

/// Opens what was wrapped.
#[track_caller]
fn expect_open(seal: &Seal, wrapped: &WrappedKey) {
    let opened = support::block_on(seal.unwrap(&place(7), wrapped)).unwrap();
    assert_eq!(opened.expose(), secret().expose());
}
