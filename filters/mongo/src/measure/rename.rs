//! Names that are many and mean one thing: `tenant_123_orders` is shown as `tenant_*_orders`.
//!
//! Only what is shown is renamed: the resource of an operation in the numbers, in `/slow`, `/cursors` and `weir top`. Rules see the
//! names as they are, and so does the server. Nothing is allocated: what is shown instead are parts of the settings.

use std::sync::Arc;

use weir_config::{Field, Fields, Kind, Node, Table, Walk};
use weir_decide::rules::glob;

/// The most entries: each of them is looked at for each operation.
const MOST: usize = 64;
const PATTERN: Kind = Kind::Text { max: 120 };

static ENTRY: Table = Table {
    name: "mongo rename",
    doc: "Shows names that fit a pattern as that pattern, or as something else. At least one of `database` and `collection`; where \
          both are given both have to fit, and both are renamed. `*` stands for any characters, `?` for one.",
    fields: &[
        Field::optional("database", PATTERN, "Databases that fit this are shown as this."),
        Field::optional("collection", PATTERN, "Collections that fit this are shown as this."),
        Field::optional(
            "as",
            PATTERN,
            "What is shown in place of the collection's name; of the database's, where `collection` is not given.",
        ),
    ],
    rules: &[],
};

const ITEM: Kind = Kind::Table(&ENTRY);

/// The field of the `mongo` section.
pub(crate) const FIELD: Field = Field::optional(
    "rename",
    Kind::List { item: &ITEM, min: 0, max: MOST },
    "Under which names databases and collections are shown in numbers, where there are too many of a kind: of all entries that fit, \
     the first for each. Rules and the server see the names as they are.",
);

/// What is shown instead of names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renames(Arc<[Entry]>);

#[derive(Debug)]
struct Entry {
    database: Option<Part>,
    collection: Option<Part>,
}

/// Of a name: what it has to look like, and what is shown for it.
#[derive(Debug)]
struct Part {
    pattern: Box<[u8]>,
    shown: Box<[u8]>,
}

impl Entry {
    fn fits(&self, database: &[u8], collection: &[u8]) -> bool {
        let fits = |part: &Option<Part>, name: &[u8]| {
            part.as_ref().is_none_or(|part| !name.is_empty() && glob(&part.pattern, name))
        };
        fits(&self.database, database) && fits(&self.collection, collection)
    }
}

impl Renames {
    /// Reads the field; `None` only when an error was recorded.
    pub(crate) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Renames> {
        let nodes = fields.items(walk, "rename").unwrap_or_default();
        let entries: Vec<_> = nodes.iter().map(|node| entry(walk, node)).collect();
        let entries: Option<Vec<Entry>> = entries.into_iter().collect();
        entries.map(|entries| Renames(entries.into()))
    }

    /// The names of a database and a collection as they are shown.
    pub(crate) fn shown<'a>(&'a self, database: &'a [u8], collection: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let (mut instead_of_database, mut instead_of_collection) = (None, None);
        for entry in self.0.iter().filter(|entry| entry.fits(database, collection)) {
            instead_of_database = instead_of_database.or(entry.database.as_ref());
            instead_of_collection = instead_of_collection.or(entry.collection.as_ref());
        }
        let shown = |part: Option<&'a Part>, name| part.map_or(name, |part| &*part.shown);
        (shown(instead_of_database, database), shown(instead_of_collection, collection))
    }
}

fn entry(walk: &mut Walk<'_>, node: &Node) -> Option<Entry> {
    let fields = walk.fields(node, &ENTRY)?;
    let [database, collection, shown] = ["database", "collection", "as"].map(|key| fields.text(walk, key));
    let is_said = |key| fields.child(key).is_some();
    if !is_said("database") && !is_said("collection") {
        walk.error(node, "expected `database` or `collection` or both");
        return None;
    }
    let wrong = |key, text: &Option<Arc<str>>| is_said(key) && text.is_none();
    if wrong("database", &database) || wrong("collection", &collection) || wrong("as", &shown) {
        return None;
    }
    let part = |pattern: Arc<str>, shown: Option<&Arc<str>>| {
        let shown = shown.unwrap_or(&pattern).as_bytes().into();
        Part { pattern: pattern.as_bytes().into(), shown }
    };
    let of_database = shown.as_ref().filter(|_| collection.is_none());
    Some(Entry {
        database: database.map(|pattern| part(pattern, of_database)),
        collection: collection.map(|pattern| part(pattern, shown.as_ref())),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_their_patterns() {
        let part = |pattern: &str, shown: &str| {
            Some(Part { pattern: pattern.as_bytes().into(), shown: shown.as_bytes().into() })
        };
        let renames = Renames(Arc::from([
            Entry { database: None, collection: part("tenant_*_orders", "tenant_*_orders") },
            Entry { database: part("shop_?", "shop_?"), collection: part("tmp*", "temporary") },
            Entry { database: part("shop_*", "shops"), collection: None },
        ]));
        for ((database, collection), expected) in [
            (("shop", "tenant_17_orders"), ("shop", "tenant_*_orders")),
            (("shop", "tenant_orders"), ("shop", "tenant_orders")),
            (("shop_1", "tmp5"), ("shop_?", "temporary")),
            (("shop_12", "tmp5"), ("shops", "tmp5")),
            (("shop_12", "tenant_1_orders"), ("shops", "tenant_*_orders")),
            (("shop_1", ""), ("shops", "")),
            (("other", "tmp5"), ("other", "tmp5")),
            (("", ""), ("", "")),
        ] {
            let shown = renames.shown(database.as_bytes(), collection.as_bytes());
            assert_eq!(shown, (expected.0.as_bytes(), expected.1.as_bytes()), "{database}.{collection}");
        }
    }
}
