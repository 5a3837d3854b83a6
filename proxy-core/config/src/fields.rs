//! A mapping read key by key: each by the kind and the default that its table has for it.

use crate::diagnostic::Position;
use crate::network::Bind;
use crate::node::{Entry, Node, Value};
use crate::scalar::{self, Parsed};
use crate::table::{Field, Kind, Presence, Table, Word};
use crate::tls::File;
use crate::walk::Walk;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A mapping whose keys have been checked against its table. Its readers look a key up, check its value by the kind in the
/// table, and apply the table's default when the key is not there.
#[derive(Clone, Copy)]
pub struct Fields<'n> {
    pub(crate) node: &'n Node,
    pub(crate) table: &'static Table,
}

/// An empty mapping.
static NOTHING: Node = Node { id: u32::MAX, at: Position::START, value: Value::Map(Vec::new()) };

impl<'n> Fields<'n> {
    /// The mapping itself.
    pub fn node(&self) -> &'n Node {
        self.node
    }

    /// The value under `key`, if it is there.
    pub fn child(&self, key: &str) -> Option<&'n Node> {
        self.node.child(key)
    }

    fn find(&self, key: &str) -> (Option<&'n Node>, Option<&'static Field>) {
        let field = self.table.field(key);
        debug_assert!(field.is_some(), "table `{}` has no field `{key}`", self.table.name);
        (self.node.child(key), field)
    }

    /// The default of a field, read like the file.
    fn default(field: &Field) -> Option<Parsed> {
        match field.presence {
            Presence::Default(text) => scalar::read(&field.kind, text, true).ok(),
            Presence::Required | Presence::Optional => None,
        }
    }

    fn parsed(&self, walk: &mut Walk<'_>, key: &str) -> Option<Parsed> {
        let (node, field) = self.find(key);
        match node {
            Some(node) => walk.parsed(node, &field?.kind),
            None => Fields::default(field?),
        }
    }

    /// What a reader makes of a key's value; that reader and table do not fit together is a fault of ours.
    fn read<T>(&self, walk: &mut Walk<'_>, key: &str, make: impl FnOnce(Parsed) -> Option<T>) -> Option<T> {
        let made = make(self.parsed(walk, key)?);
        debug_assert!(
            made.is_some(),
            "table `{}`: `{key}` is of another kind than its reader",
            self.table.name
        );
        made
    }

    /// Text, a host, a host and port, a method.
    pub fn text(&self, walk: &mut Walk<'_>, key: &str) -> Option<Arc<str>> {
        self.read(walk, key, Parsed::text)
    }

    /// `true` or `false`.
    pub fn flag(&self, walk: &mut Walk<'_>, key: &str) -> Option<bool> {
        self.read(walk, key, Parsed::flag)
    }

    /// A whole number, a size in bytes, a status.
    pub fn number<T: TryFrom<u64>>(&self, walk: &mut Walk<'_>, key: &str) -> Option<T> {
        self.read(walk, key, Parsed::number)
    }

    /// A duration.
    pub fn duration(&self, walk: &mut Walk<'_>, key: &str) -> Option<Duration> {
        self.read(walk, key, Parsed::duration)
    }

    /// An address to listen on.
    pub fn bind(&self, walk: &mut Walk<'_>, key: &str) -> Option<SocketAddr> {
        self.read(walk, key, Parsed::bind)
    }

    /// Where a listener listens.
    pub fn listen(&self, walk: &mut Walk<'_>, key: &str) -> Option<Bind> {
        self.read(walk, key, Parsed::listen)
    }

    /// A word of a closed list.
    pub fn word<T: Word>(&self, walk: &mut Walk<'_>, key: &str) -> Option<T> {
        self.read(walk, key, Parsed::word)
    }

    /// A path; a relative one is relative to the configuration file.
    pub fn path(&self, walk: &mut Walk<'_>, key: &str) -> Option<PathBuf> {
        walk.path(self.find(key).0?)
    }

    /// A file that is named by its path.
    pub fn file(&self, walk: &mut Walk<'_>, key: &str) -> Option<File> {
        walk.file_of(self.find(key).0?)
    }

    /// A reference to a cluster of the file.
    pub fn cluster(&self, walk: &mut Walk<'_>, key: &str) -> Option<Arc<str>> {
        walk.cluster(self.find(key).0?)
    }

    /// A mapping with a table of its own.
    pub fn table(&self, walk: &mut Walk<'_>, key: &str) -> Option<Fields<'n>> {
        let (node, field) = self.find(key);
        match field?.kind {
            Kind::Table(table) => walk.fields(node?, table),
            _ => None,
        }
    }

    /// The same; where it is not there, one in which everything has its default.
    pub fn table_or_default(&self, walk: &mut Walk<'_>, key: &str) -> Fields<'n> {
        let table = match self.find(key).1 {
            Some(Field { kind: Kind::Table(table), .. }) => table,
            _ => self.table,
        };
        self.table(walk, key).unwrap_or_else(|| Fields::nothing(table))
    }

    /// A mapping in which everything has its default.
    pub(crate) fn nothing(table: &'static Table) -> Fields<'n> {
        Fields { node: &NOTHING, table }
    }

    /// The items of a [`Kind::List`] or [`Kind::OneOrMany`]; `None` when it is not there.
    pub fn items(&self, walk: &mut Walk<'_>, key: &str) -> Option<&'n [Node]> {
        let (node, field) = self.find(key);
        let node = node?;
        match field?.kind {
            Kind::List { min, max, .. } => walk.list(node, min, max),
            Kind::OneOrMany(_) if node.items().is_some() => walk.list(node, 1, usize::MAX),
            Kind::OneOrMany(_) => Some(std::slice::from_ref(node)),
            _ => None,
        }
    }

    /// The entries of a [`Kind::Map`]; `None` when it is not there.
    pub fn map(&self, walk: &mut Walk<'_>, key: &str) -> Option<&'n [Entry]> {
        walk.map(self.find(key).0?)
    }
}
