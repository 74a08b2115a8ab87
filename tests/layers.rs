//! Data flows one way: a module imports only from the layers before its own. This test reads the `use` lines.

#![allow(clippy::unwrap_used, reason = "a file that cannot be read fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

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
    &["config"],
    &["catalog"],
    &["vault"],
    &["store"],
    &["google", "agent", "session"],
    &["broker"],
    &["delivery"],
    &["web", "cli"],
    &["app", "lifecycle"],
];

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

/// The modules of the crate that a source text names, by `crate::a::…` and by `use crate::{a::…, b}`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, _) in text.match_indices("crate::") {
        if text[..index].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[index + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.push(head(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn head(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first names of a `{…}` group's entries.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut start) = (1_usize, Vec::new(), 0);
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            heads.push(head(&group[start..index]));
            start = index + 1;
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

fn module_of(path: &Path, root: &Path) -> String {
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first
        .as_os_str()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

/// Without comments and tests' own modules: a test may look at more than its subject may use.
fn without_comments(text: &str) -> String {
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    match code.find("#[cfg(test)]\nmod tests {") {
        Some(index) => code[..index].to_owned(),
        None => code,
    }
}

#[test]
fn arrows_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in sources(&root) {
        let from = module_of(&path, &root);
        if matches!(from.as_str(), "lib" | "main") {
            continue;
        }
        assert!(
            layer_of(&from).is_some(),
            "src/{from} has no layer: give it one in this test"
        );
        for to in imports(&without_comments(&fs::read_to_string(&path).unwrap())) {
            if layer_of(&to).is_some() && !allowed(&from, &to) {
                wrong
                    .entry(path.strip_prefix(&root).unwrap().display().to_string())
                    .or_default()
                    .push(to);
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these files import against the arrows: {wrong:#?}"
    );
}

#[test]
fn the_reader_of_imports_finds_what_it_should() {
    let text = "use crate::{\n    clock::{self, Clock},\n    store::Store,\n};\nlet x = crate::web::Web;\n";
    assert_eq!(imports(text), ["clock", "store", "web"]);
    assert!(allowed("broker", "store") && !allowed("store", "broker"));
    assert!(!allowed("google", "agent") && !allowed("cli", "app") && allowed("clock", "id"));
}
