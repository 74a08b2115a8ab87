//! Agents that are gone and whose directory may still hold what they were given.

use std::{collections::HashMap, sync::Arc};

use crate::{id::AgentName, registry::handle::AgentHandle};

/// By name; mostly empty.
#[derive(Default)]
pub(crate) struct Leaving(HashMap<AgentName, Vec<Arc<AgentHandle>>>);

impl Leaving {
    pub(crate) fn add(&mut self, handle: &Arc<AgentHandle>) {
        self.0
            .entry(handle.name().clone())
            .or_default()
            .push(handle.clone());
    }

    /// True while nobody else may have what goes by this name.
    pub(crate) fn contains(&self, name: &AgentName) -> bool {
        self.0.contains_key(name)
    }

    /// Nothing is left of `handle`. True when nothing is left of anybody of its name.
    pub(crate) fn remove(&mut self, handle: &Arc<AgentHandle>) -> bool {
        let Some(handles) = self.0.get_mut(handle.name()) else {
            return false;
        };
        handles.retain(|other| !Arc::ptr_eq(other, handle));
        let is_last = handles.is_empty();
        if is_last {
            self.0.remove(handle.name());
        }
        is_last
    }

    /// What keeps the directory of this name from being cleared.
    pub(crate) fn problem(&self, name: &AgentName) -> Option<String> {
        let mut handles = self.0.get(name)?.iter();
        handles.find_map(|handle| handle.delivery_problem())
    }
}
