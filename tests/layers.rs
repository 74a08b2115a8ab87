//! Data flows one way: a folder imports only from the layers before its own, and the files of a crate use each other in
//! no circle. These tests read the sources.

#![allow(clippy::unwrap_used, reason = "a file that cannot be read fails the test")]

#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/source.rs"]
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use circles::{arrows, circles, graph};
use source::Sources;

/// The layers, first to last. Modules of one layer may import each other only in the first and the last.
const LAYERS: &[&[&str]] = &[
    &[
        "address",
        "budget",
        "clock",
        "dpop",
        "entropy",
        "file",
        "followed",
        "health",
        "http_client",
        "id",
        "jws",
        "proto",
        "secret",
        "telemetry",
        "text",
    ],
    &["config", "client"],
    &["capability"],
    &["vault"],
    &["seal"],
    &["cause"],
    &["store"],
    &["sql"],
    &["audit_trail"],
    &["tables"],
    &["sqlite"],
    &["sqlite_store"],
    &["postgres"],
    &["postgres_store"],
    &["store_copy"],
    &["keyring"],
    &["provider"],
    &["risc"],
    &["manifest", "session"],
    &["registry"],
    &["policy"],
    &["audit"],
    &["renewal"],
    &["revocation"],
    &["accounts"],
    &["broker"],
    // What tests of the layers after it share.
    &["testing"],
    &["net", "agent_view", "help"],
    &["agent_files", "kubernetes"],
    &["agent_api"],
    &["node_api"],
    &["pod_api", "admin_api"],
    &["relay"],
    &["sidecar", "node", "delivery"],
    &["doctor", "supervisor"],
    &["terminal"],
    &["web", "cli"],
    &["app", "lifecycle"],
];

/// The rooms behind the broker. Others reach what is in them through `broker`, which says what it shares.
const BEHIND_BROKER: &[&str] = &["registry", "policy", "audit", "renewal", "revocation", "accounts"];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn allowed(from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    match (layer_of(from), layer_of(to)) {
        (Some(0), Some(0)) => true,
        (Some(a), Some(b)) => b < a || (a == LAYERS.len() - 1 && b == a),
        _ => false,
    }
}

/// The roots of the crates: this one, and those beside it.
fn roots() -> Vec<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = fs::read_dir(package.join("crates")).into_iter().flatten();
    let beside = beside.map(|entry| entry.unwrap().path());
    let all = std::iter::once(package.to_owned()).chain(beside);
    all.map(|package| package.join("src/lib.rs"))
        .filter(|root| root.exists())
        .collect()
}

/// A file as this repository names it.
fn shown(root: &Path, file: &Path) -> String {
    let file = root.parent().unwrap().join(file);
    file.strip_prefix(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
        .display()
        .to_string()
}

#[test]
fn arrows_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let sources = Sources::read(&root);
    let mut wrong: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, module) in sources.modules() {
        let Some(from) = path.first() else {
            continue;
        };
        assert!(
            layer_of(from).is_some(),
            "src/{from} has no layer: give it one in this test"
        );
        for (used, _) in sources.absolute(path) {
            if let Some(to) = used.first()
                && layer_of(to).is_some()
                && !allowed(from, to)
            {
                wrong
                    .entry(shown(&root, &module.file))
                    .or_default()
                    .insert(to.clone());
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these files import against the arrows: {wrong:#?}"
    );
}

#[test]
fn what_is_behind_the_broker_is_reached_through_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let sources = Sources::read(&root);
    let mut wrong: BTreeSet<String> = BTreeSet::new();
    for (path, module) in sources.modules() {
        let is_behind = |name: &String| BEHIND_BROKER.contains(&name.as_str());
        let belongs = |name: &String| is_behind(name) || name == "broker";
        if path.first().is_some_and(belongs) {
            continue;
        }
        if sources
            .absolute(path)
            .iter()
            .any(|(used, _)| used.first().is_some_and(is_behind))
        {
            wrong.insert(shown(&root, &module.file));
        }
    }
    assert!(
        wrong.is_empty(),
        "these files reach behind the broker: import from `broker` what it shares: {wrong:#?}"
    );
}

#[test]
fn files_use_each_other_in_no_circle() {
    let mut wrong = Vec::new();
    for root in roots() {
        let graph = graph(&Sources::read(&root));
        wrong.extend(circles(&graph).iter().map(|circle| arrows(&graph, circle)));
    }
    assert!(
        wrong.is_empty(),
        "these files use each other in a circle: {wrong:#?}"
    );
}

/// A crate of these files, and the circles in it.
fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let found = circles(&graph(&Sources::read(&folder.path().join("lib.rs"))));
    let names = |circle: &BTreeSet<PathBuf>| circle.iter().map(|file| file.display().to_string()).collect();
    found.iter().map(names).collect()
}

#[test]
fn a_circle_is_found_however_a_file_is_named() {
    for (a, b) in [
        ("use super::b::B; pub struct A;", "use crate::a::A; pub struct B;"),
        (
            "use crate::{b::{self, B}}; pub struct A;",
            "use super::{a as other}; fn f() { other::f() } pub struct B;",
        ),
        ("pub fn f() { super::b::f() }", "pub fn f() { crate::a::f() }"),
        (
            "pub fn f() { println!(\"{}\", super::b::f()) }",
            "pub fn f() { crate::a::f() }",
        ),
        (
            "#[serde(with = super::b::f)] pub struct A;",
            "pub struct B(pub super::a::A);",
        ),
        ("use super::b::*; pub struct A;", "impl super::a::A {}"),
        ("use crate::B; pub struct A;", "use crate::a::A; pub struct B;"),
    ] {
        let files = [
            ("lib.rs", "mod a; mod b; pub use b::B;"),
            ("a.rs", a),
            ("b.rs", b),
        ];
        assert_eq!(circles_of(&files), [["a.rs", "b.rs"]], "{a} {b}");
    }
}

#[test]
fn a_parent_that_hands_on_is_in_a_circle_only_with_what_it_defines() {
    let child = "use super::Own; pub struct Inner(Own);";
    let hands_on = [
        ("lib.rs", "mod c; pub use c::Inner; pub struct Own;"),
        ("c.rs", child),
    ];
    assert!(circles_of(&hands_on).is_empty());
    for uses in [
        "use c::Inner;",
        "pub use c::Inner; fn f(_: Inner) {}",
        "fn f(_: c::Inner) {}",
    ] {
        let parent = format!("mod c; pub struct Own; {uses}");
        let files = [("lib.rs", parent.as_str()), ("c.rs", child)];
        assert_eq!(circles_of(&files), [["c.rs", "lib.rs"]], "{uses}");
    }
}

#[test]
fn what_is_for_tests_or_says_who_may_see_is_no_use() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use super::b::B; pub struct A;"),
        (
            "b.rs",
            "#[cfg(test)] use super::a::A; pub(in crate::a) struct B; #[cfg(test)] mod tests { use crate::a::A; }",
        ),
    ];
    assert!(circles_of(&files).is_empty());
    let in_a_child = [
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod b; #[cfg(test)] mod tests; fn f() { b::f() }"),
        ("a/b.rs", "pub fn f() {}"),
        ("a/tests.rs", "use super::*;"),
    ];
    assert!(circles_of(&in_a_child).is_empty());
}

#[test]
fn the_table_of_layers_allows_what_it_should() {
    assert!(allowed("broker", "store") && !allowed("store", "broker"));
    assert!(!allowed("provider", "agent") && !allowed("cli", "app") && allowed("clock", "id"));
}
