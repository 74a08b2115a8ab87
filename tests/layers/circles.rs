//! Which files of a crate use each other in a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::source::Sources;

/// Which files each file uses, and by which name first.
pub(crate) type Graph = BTreeMap<PathBuf, BTreeMap<PathBuf, String>>;

/// The files of a crate's production code.
pub(crate) fn graph(sources: &Sources) -> Graph {
    let files: BTreeMap<_, _> = sources
        .modules()
        .map(|(path, module)| (path, &module.file))
        .collect();
    let mut graph = Graph::new();
    for (path, module) in sources.modules().filter(|(_, module)| !module.is_test) {
        let uses = graph.entry(module.file.clone()).or_default();
        for (target, name) in sources.used_by(path) {
            if files[target] != &module.file {
                uses.entry(files[target].clone()).or_insert(name);
            }
        }
    }
    graph
}

/// The groups of files each of which leads to all others.
pub(crate) fn circles(graph: &Graph) -> Vec<BTreeSet<PathBuf>> {
    let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> = graph
        .keys()
        .map(|file| (file, reached_from(graph, file)))
        .collect();
    let mut found: Vec<BTreeSet<PathBuf>> = Vec::new();
    for (file, targets) in &reached {
        if !targets.contains(file) || found.iter().any(|circle| circle.contains(*file)) {
            continue;
        }
        let leads_back = |target: &&&PathBuf| reached.get(**target).is_some_and(|far| far.contains(file));
        found.push(targets.iter().filter(leads_back).copied().cloned().collect());
    }
    found
}

fn reached_from<'a>(graph: &'a Graph, file: &'a PathBuf) -> BTreeSet<&'a PathBuf> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![file]);
    while let Some(next) = open.pop() {
        let targets = graph.get(next).into_iter().flat_map(BTreeMap::keys);
        open.extend(targets.filter(|target| reached.insert(*target)));
    }
    reached
}

/// The arrows inside of a circle, for people.
pub(crate) fn arrows(graph: &Graph, circle: &BTreeSet<PathBuf>) -> Vec<String> {
    let uses = circle.iter().filter_map(|file| Some((file, graph.get(file)?)));
    let arrows = uses.flat_map(|(file, targets)| targets.iter().map(move |target| (file, target)));
    arrows
        .filter(|(_, (target, _))| circle.contains(*target))
        .map(|(file, (target, name))| format!("{} uses {} ({name})", file.display(), target.display()))
        .collect()
}
