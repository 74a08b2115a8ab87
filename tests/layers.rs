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

/// The layers, first to last. Modules of one layer may import each other only in the first.
const LAYERS: &[&[&str]] = &[
    &[
        "address",
        "budget",
        "clock",
        "entropy",
        "file",
        "followed",
        "health",
        "id",
        "proto",
        "secret",
        "telemetry",
        "text",
    ],
    &["config", "client"],
    &["catalog"],
    &["vault"],
    &["store"],
    &["google", "agent", "session"],
    &["broker"],
    &["delivery"],
    &["doctor"],
    &["web", "cli"],
    &["app", "lifecycle"],
];

/// The emulator stands beside the layers: it is Google's side, and knows none of ours.
const ASIDE: &str = "emulator";

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn allowed(from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    if from == ASIDE {
        return layer_of(to) == Some(0);
    }
    if to == ASIDE {
        return from == "app";
    }
    match (layer_of(from), layer_of(to)) {
        (Some(0), Some(0)) => true,
        (Some(a), Some(b)) => b < a || (a == LAYERS.len() - 1 && b == a),
        _ => false,
    }
}

/// Files that still use each other in a circle. The list only shrinks.
const TO_COME_APART: &[&str] = &[];

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
            layer_of(from).is_some() || from == ASIDE,
            "src/{from} has no layer: give it one in this test"
        );
        for (used, _) in sources.absolute(path) {
            if let Some(to) = used.first()
                && (layer_of(to).is_some() || to == ASIDE)
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
fn files_use_each_other_in_no_circle() {
    let (mut wrong, mut waiting) = (Vec::new(), BTreeSet::new());
    for root in roots() {
        let graph = graph(&Sources::read(&root));
        for circle in circles(&graph) {
            let files: BTreeSet<String> = circle.iter().map(|file| shown(&root, file)).collect();
            if !files.iter().all(|file| TO_COME_APART.contains(&file.as_str())) {
                wrong.push(arrows(&graph, &circle));
            }
            waiting.extend(files);
        }
    }
    assert!(
        wrong.is_empty(),
        "these files use each other in a circle: {wrong:#?}"
    );
    let done: Vec<_> = TO_COME_APART
        .iter()
        .filter(|file| !waiting.contains(**file))
        .collect();
    assert!(
        done.is_empty(),
        "take these out of TO_COME_APART, they are in no circle: {done:#?}"
    );
}
