use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use crate::id::AgentName; use super::Manifest;
pub struct ManifestFile { pub manifest: Arc<Manifest>, pub path: PathBuf }
pub struct ManifestProblem { pub path: PathBuf, pub message: String }
impl std::fmt::Display for ManifestProblem { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{}: {}", self.path.display(), self.message) } }
#[derive(Default)]
pub struct Scan { pub manifests: BTreeMap<AgentName, Arc<ManifestFile>>, pub problems: Vec<ManifestProblem> }
