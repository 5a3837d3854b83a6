//! What tests of dialects need to look at one. Included by the tests of this crate's users, by its path.

use std::collections::HashMap;
use weir_decide::exchange::{NameId, NameKind, Names};
use weir_http::Fields;

/// Interns without a cap, and shows the names.
#[derive(Default)]
pub struct Book {
    ids: HashMap<Vec<u8>, NameId>,
}

impl Names for Book {
    fn intern(&mut self, _: NameKind, parts: &[&[u8]]) -> NameId {
        let next = NameId(self.ids.len() as u64 + 2);
        *self.ids.entry(parts.concat()).or_insert(next)
    }
}

impl Book {
    /// The name that was interned.
    pub fn show(&self, id: NameId) -> String {
        if id == NameId::OTHER {
            return "_other".to_owned();
        }
        let found = self.ids.iter().find(|(_, known)| **known == id);
        found.map(|(text, _)| String::from_utf8(text.clone()).unwrap()).unwrap_or_default()
    }
}

/// Fields of a head.
pub fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}
