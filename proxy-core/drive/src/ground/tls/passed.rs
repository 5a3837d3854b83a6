//! The server names whose connections are passed on as they are.

use hashbrown::HashMap;
use std::sync::Arc;
use weir_config::NameMatch;

/// Names, exact and `*.suffix`, each with the number of what it leads to.
#[derive(Debug, Default)]
pub(crate) struct Names {
    exact: HashMap<Arc<str>, usize>,
    /// By what follows the `*`, from the dot on.
    below: HashMap<Arc<str>, usize>,
}

impl Names {
    /// Has `name` lead to `number`.
    pub(crate) fn insert(&mut self, name: &NameMatch, number: usize) {
        let (map, name) = match name {
            NameMatch::Exact(name) => (&mut self.exact, name),
            NameMatch::Below(name) => (&mut self.below, name),
        };
        map.insert(Arc::clone(name), number);
    }

    /// What `name` (in lower case) leads to: the name itself, else the longest end of it.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let ends = name.match_indices('.').filter(|(at, _)| *at > 0).filter_map(|(at, _)| name.get(at..));
        self.exact
            .get(name)
            .copied()
            .or_else(|| ends.into_iter().find_map(|end| self.below.get(end).copied()))
    }
}
