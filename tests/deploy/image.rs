//! What `deploy/Containerfile` copies is what the program is built of, and nothing else gets to the builder. The image
//! itself takes a registry, which tests do without.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::{deploy, succeeds};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the build stage copies, each under its own name.
fn copied() -> BTreeSet<String> {
    let text = fs::read_to_string(deploy().join("Containerfile")).unwrap();
    let (build, last) = text.split_once("FROM scratch").unwrap();
    assert!(
        last.contains("--from=build /src/target/static-pie/release/token-broker"),
        "{last}"
    );
    let mut copied = BTreeSet::new();
    for line in build.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let (sources, destination) = line.rsplit_once(' ').unwrap();
        assert!(destination == "./" || destination == sources, "{line}");
        copied.extend(sources.split(' ').map(str::to_owned));
    }
    copied
}

#[test]
fn nothing_but_what_is_copied_is_sent_to_the_builder() {
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let mut lines = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "keys may lie in deploy/etc");
    let sent: BTreeSet<String> = lines
        .map(|line| {
            line.strip_prefix('!')
                .expect("only what is let in again")
                .to_owned()
        })
        .collect();
    assert_eq!(sent, copied());
}

#[test]
fn the_program_is_built_of_what_is_copied() {
    // The same folder each time, so that what is built of it does not pile up.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let sources = target.join("image");
    let _ = fs::remove_dir_all(&sources);
    // Cargo adds up what it finds in the folders above, and flags that come twice would build everything again.
    let (above, inside): (Vec<_>, Vec<_>) = copied().into_iter().partition(|path| path == ".cargo");
    assert_eq!(above.len(), 1, "the flags are part of the build");
    for path in inside {
        copy(&root().join(&path), &sources.join(&path));
    }
    let mut check = Command::new(env!("CARGO"));
    check
        .args([
            "check",
            "--quiet",
            "--locked",
            "--offline",
            "--no-default-features",
        ])
        .args(["--bin", "token-broker", "--target-dir"])
        .arg(target.parent().unwrap())
        .current_dir(&sources);
    succeeds(&mut check);
}

/// The crates that the program is built of.
fn crates(options: &[&str]) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--offline", "--prefix=none", "--format={p}"])
        .args(["--edges=no-dev", "--package=token-broker"])
        .args(options)
        .current_dir(root());
    let names = succeeds(&mut tree);
    names
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_goes_into_production_has_nothing_of_the_emulator() {
    let script = fs::read_to_string(deploy().join("static")).unwrap();
    assert!(
        script.contains("(--profile dist --no-default-features)"),
        "{script}"
    );
    assert!(crates(&[]).contains("google-emulator"));
    assert!(!crates(&["--no-default-features"]).contains("google-emulator"));
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}
