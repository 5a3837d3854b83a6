//! The typed walk: takes a spanned tree apart by its field tables and collects every error on the way. Readers give `None`
//! for what is not there or is wrong; what is wrong has then been recorded, and the file as a whole is refused.

use crate::diagnostic::{Diagnostic, Errors, Position, is_unclean};
use crate::fields::Fields;
use crate::model::Config;
use crate::network::Cidr;
use crate::node::{Entry, Node, Scalar, Value, path_of, push_key};
use crate::scalar::{self, Parsed, Problem};
use crate::table::{Kind, Presence, Rule, Table, Word};
use crate::tls::File;
use crate::tree;
use hashbrown::HashMap;
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The state of a walk: where errors go, and what can be referred to.
pub struct Walk<'a> {
    file: Arc<str>,
    root: &'a Node,
    /// What relative paths are relative to.
    base: &'a Path,
    clusters: HashMap<&'a str, Known, foldhash::fast::RandomState>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    omitted: usize,
    /// References to clusters that are not there.
    misses: u32,
    /// How many values were looked at: the walk's work, which has to be linear in the size of the file.
    pub(crate) visited: u64,
}

struct Known {
    name: Arc<str>,
    /// Whether it has `tls`.
    tls: bool,
    used: Cell<bool>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        file: Arc<str>,
        root: &'a Node,
        base: &'a Path,
        errors: Vec<Diagnostic>,
        omitted: usize,
    ) -> Walk<'a> {
        let warnings = Vec::new();
        Walk {
            file,
            root,
            base,
            clusters: HashMap::default(),
            errors,
            warnings,
            omitted,
            misses: 0,
            visited: 0,
        }
    }

    /// The file as it was named.
    pub(crate) fn file(&self) -> Arc<str> {
        self.file.clone()
    }

    pub(crate) fn error_count(&self) -> usize {
        self.errors.len() + self.omitted
    }

    /// Records that something is wrong with `node`.
    pub fn error(&mut self, node: &Node, message: impl Into<String>) {
        self.error_at(node.at, node, message.into());
    }

    /// Records that something is wrong with an entry of a mapping, at its key.
    pub fn error_at_key(&mut self, entry: &Entry, message: impl Into<String>) {
        self.error_at(entry.key_at, &entry.value, message.into());
    }

    /// Records that `node` is not what was expected; what was found is added.
    pub fn expected(&mut self, node: &Node, expected: &str) {
        if !matches!(node.value, Value::Broken) {
            self.error(node, format!("expected {expected}, found {}", found(node)));
        }
    }

    /// Records that `word`, which is what `node` holds or part of it, is none of the `known` ones, and tells the nearest.
    pub fn unlisted<'w>(
        &mut self,
        node: &Node,
        word: &str,
        expected: &str,
        known: impl Iterator<Item = &'w str>,
    ) {
        let mut message = format!("expected {expected}, found {}", found(node));
        if !is_substituted(node) {
            message.push_str(&hint(&mut self.misses, word, known));
        }
        self.error(node, message);
    }

    /// The same, of the key of an entry.
    pub fn unlisted_key<'w>(&mut self, entry: &Entry, expected: &str, known: impl Iterator<Item = &'w str>) {
        let hint = hint(&mut self.misses, entry.key(), known);
        self.error_at_key(entry, format!("expected {expected}, found `{}`{hint}", clip(entry.key())));
    }

    /// Records a warning: the file is taken, but this may not be what was meant.
    pub fn warn(&mut self, node: &Node, message: impl Into<String>) {
        if self.warnings.len() < Errors::MOST {
            let warning = self.diagnostic(node.at, node, message.into());
            self.warnings.push(warning);
        }
    }

    fn error_at(&mut self, at: Position, node: &Node, message: String) {
        if self.errors.len() < Errors::MOST {
            let error = self.diagnostic(at, node, message);
            self.errors.push(error);
        } else {
            self.omitted += 1;
        }
    }

    fn diagnostic(&self, at: Position, node: &Node, message: String) -> Diagnostic {
        Diagnostic::new(self.file.clone(), at, &path_of(self.root, node.id), &message)
    }

    /// Looks at a mapping through its table: unknown keys, missing keys and broken rules are recorded. `None` when it is no
    /// mapping at all.
    pub fn fields<'n>(&mut self, node: &'n Node, table: &'static Table) -> Option<Fields<'n>> {
        self.fields_with(node, table, &[])
    }

    /// The same, with keys beside those of the table.
    pub(crate) fn fields_with<'n>(
        &mut self,
        node: &'n Node,
        table: &'static Table,
        more: &[&'static str],
    ) -> Option<Fields<'n>> {
        self.visited += 1;
        // `x: true` asks for it, with the defaults where there is nothing that has to be said.
        if is_yes(node) && table.is_complete_when_empty() && more.is_empty() {
            self.expected(node, "a mapping (`{}` for the defaults)");
            return None;
        }
        let entries = self.map(node)?;
        let known = || table.fields.iter().map(|field| field.name).chain(more.iter().copied());
        // What a misspelt key stands for is not missing as well.
        let mut meant: Vec<&str> = Vec::new();
        for entry in entries {
            self.visited += 1;
            if known().any(|name| name == entry.key()) {
                entry.seen.known();
            } else {
                meant.extend(self.unknown(entry, known()));
            }
        }
        let missing = |keys: &[&str]| {
            !keys.iter().any(|key| meant.contains(key) || entries.iter().any(|entry| entry.key() == *key))
        };
        for field in table.fields.iter().filter(|field| field.presence == Presence::Required) {
            if missing(&[field.name]) {
                self.error(
                    node,
                    format!("`{}` is missing: {}", field.name, scalar::expectation(&field.kind)),
                );
            }
        }
        if !more.is_empty() && missing(more) {
            self.error(node, format!("the protocol is missing: {}", scalar::one_of(more.iter().copied())));
        }
        for rule in table.rules {
            match rule {
                Rule::ExactlyOne(keys) | Rule::AtLeastOne(keys) if missing(keys) => {
                    self.error(node, format!("expected {}", scalar::one_of(keys.iter().copied())));
                }
                _ => self.rule(entries, rule),
            }
        }
        Some(Fields { node, table })
    }

    /// Records an unknown key, and gives the one that may have been meant.
    fn unknown(
        &mut self,
        entry: &Entry,
        known: impl Iterator<Item = &'static str> + Clone,
    ) -> Option<&'static str> {
        let near = scalar::nearest(entry.key(), known.clone());
        let mut message = format!("unknown key, expected {}", scalar::one_of(known));
        if let Some(near) = near {
            message.push_str(&format!("; did you mean `{near}`?"));
        }
        self.error_at_key(entry, message);
        near
    }

    /// A rule about the keys that are there.
    fn rule(&mut self, entries: &[Entry], rule: &Rule) {
        let keys = rule.keys();
        let there: Vec<&Entry> = entries.iter().filter(|entry| keys.contains(&entry.key())).collect();
        match (rule, there.as_slice()) {
            (Rule::ExactlyOne(_) | Rule::AtMostOne(_), [first, others @ ..]) => {
                let first = first.key();
                for other in others {
                    self.error_at_key(other, format!("cannot stand beside `{first}`: only one of them"));
                }
            }
            (Rule::Together(_), [first, ..]) => {
                for missing in keys.iter().filter(|key| !there.iter().any(|entry| entry.key() == **key)) {
                    self.error_at_key(first, format!("needs `{missing}` beside it"));
                }
            }
            _ => {}
        }
    }

    /// The entries of a mapping from names of the user's choice.
    pub fn map<'n>(&mut self, node: &'n Node) -> Option<&'n [Entry]> {
        self.visited += 1;
        let entries = node.entries();
        if entries.is_none() {
            let expected = if node.is_null() { "a mapping (`{}` for an empty one)" } else { "a mapping" };
            self.expected(node, expected);
        }
        entries
    }

    /// The items of a list of `min` to `max`.
    pub fn list<'n>(&mut self, node: &'n Node, min: usize, max: usize) -> Option<&'n [Node]> {
        self.visited += 1;
        let Some(items) = node.items() else {
            self.expected(node, "a list");
            return None;
        };
        if items.len() < min && items.is_empty() {
            self.expected(node, "a list of at least one item");
            return None;
        }
        if items.len() < min || items.len() > max {
            let bound = if items.len() < min { format!("at least {min}") } else { format!("at most {max}") };
            self.error(node, format!("expected a list of {bound} items, found one of {}", items.len()));
            return None;
        }
        Some(items)
    }

    /// Whether this may name a listener or a cluster; if not, that is recorded.
    pub(crate) fn name(&mut self, entry: &Entry) -> bool {
        let good = scalar::is_name(entry.key());
        if !good {
            self.error_at_key(
                entry,
                "expected a name of 1 to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`",
            );
        }
        good
    }

    /// Makes cluster names known, before anything refers to them.
    pub(crate) fn know_clusters(&mut self, entries: &'a [Entry]) {
        self.clusters.reserve(entries.len());
        for entry in entries {
            self.visited += 1;
            let tls = entry.value().child("tls").is_some();
            let known = Known { name: entry.key().into(), tls, used: Cell::new(false) };
            self.clusters.insert(entry.key(), known);
        }
    }

    /// The shared name of a known cluster.
    pub(crate) fn cluster_name(&self, name: &str) -> Arc<str> {
        self.clusters.get(name).map_or_else(|| name.into(), |known| known.name.clone())
    }

    /// Whether the cluster has `tls`.
    pub(crate) fn has_tls(&self, name: &str) -> bool {
        self.clusters.get(name).is_some_and(|known| known.tls)
    }

    /// Whether anything refers to the cluster.
    pub(crate) fn is_used(&self, name: &str) -> bool {
        self.clusters.get(name).is_some_and(|known| known.used.get())
    }

    /// A reference to a cluster, which has to be in the file.
    pub fn cluster(&mut self, node: &Node) -> Option<Arc<str>> {
        self.visited += 1;
        let text = match &node.value {
            Value::Scalar(scalar) if !scalar.is_null() => scalar.text(),
            _ => {
                self.expected(node, &scalar::expectation(&Kind::Cluster));
                return None;
            }
        };
        if let Some(known) = self.clusters.get(text) {
            known.used.set(true);
            return Some(known.name.clone());
        }
        let mut message = format!("no cluster is called {}", found(node));
        if !is_substituted(node) {
            message.push_str(&hint(&mut self.misses, text, self.clusters.keys().copied()));
        }
        self.error(node, message);
        None
    }

    pub(crate) fn parsed(&mut self, node: &Node, kind: &Kind) -> Option<Parsed> {
        self.visited += 1;
        let Value::Scalar(scalar) = &node.value else {
            self.expected(node, &scalar::expectation(kind));
            return None;
        };
        if scalar.is_null() {
            self.expected(node, &scalar::expectation(kind));
            return None;
        }
        match scalar::read(kind, &scalar.text, scalar.may_be_typed()) {
            Ok(parsed) => Some(parsed),
            Err(Problem { expected, hint }) => {
                let mut message = format!("expected {expected}, found {}", found(node));
                // A hint may hold parts of the value, which are not to be shown when it was substituted.
                if let (Some(hint), false) = (hint, is_substituted(node)) {
                    message.push_str("; ");
                    message.push_str(&hint);
                }
                self.error(node, message);
                None
            }
        }
    }

    /// Text of one of the kinds that are text: [`Kind::Text`], [`Kind::HostPort`], [`Kind::Host`], [`Kind::Method`].
    pub fn text(&mut self, node: &Node, kind: &Kind) -> Option<Arc<str>> {
        self.parsed(node, kind)?.text()
    }

    /// `true` or `false`.
    pub fn flag(&mut self, node: &Node) -> Option<bool> {
        self.parsed(node, &Kind::Bool)?.flag()
    }

    /// A number of [`Kind::Integer`], [`Kind::Size`] (bytes) or [`Kind::Status`].
    pub fn number<T: TryFrom<u64>>(&mut self, node: &Node, kind: &Kind) -> Option<T> {
        self.parsed(node, kind)?.number()
    }

    /// A duration of [`Kind::Duration`].
    pub fn duration(&mut self, node: &Node, kind: &Kind) -> Option<Duration> {
        self.parsed(node, kind)?.duration()
    }

    /// An address to listen on.
    pub fn bind(&mut self, node: &Node) -> Option<SocketAddr> {
        self.parsed(node, &Kind::Bind)?.bind()
    }

    /// A host and a port.
    pub fn host_port(&mut self, node: &Node) -> Option<Arc<str>> {
        self.text(node, &Kind::HostPort)
    }

    /// Where an endpoint is: a host and a port, or `unix:` and a path.
    pub fn endpoint(&mut self, node: &Node) -> Option<Arc<str>> {
        self.text(node, &Kind::Endpoint)
    }

    /// An IP address or a network.
    pub fn network(&mut self, node: &Node) -> Option<Cidr> {
        self.parsed(node, &Kind::Network)?.network()
    }

    /// A path; a relative one is relative to the configuration file.
    pub fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let text = self.text(node, &Kind::Path)?;
        Some(self.base.join(&*text))
    }

    /// A file that is named by its path.
    pub fn file_of(&mut self, node: &Node) -> Option<File> {
        let path = self.path(node)?;
        Some(File { path, at: node.at, key: path_of(self.root, node.id).into() })
    }

    /// An HTTP method.
    pub fn method(&mut self, node: &Node) -> Option<Arc<str>> {
        self.text(node, &Kind::Method)
    }

    /// A word of a closed list; `kind` is the [`Kind::OneOf`] of the same enum.
    pub fn word<T: Word>(&mut self, node: &Node, kind: &Kind) -> Option<T> {
        self.parsed(node, kind)?.word()
    }

    /// The configuration, if nothing was wrong with it, or all that was.
    pub(crate) fn finish(self, config: Option<Config>, text: &str) -> Result<Config, Errors> {
        let Walk { mut errors, omitted, mut warnings, .. } = self;
        match config {
            Some(mut config) if errors.is_empty() => {
                tree::keep_within(text, &mut warnings);
                config.warnings = warnings;
                Ok(config)
            }
            _ => {
                tree::keep_within(text, &mut errors);
                Err(Errors::new(errors, omitted))
            }
        }
    }
}

/// Which of many was meant. Comparing with all of them is worth it for the first few mistakes, not for thousands.
fn hint<'w>(misses: &mut u32, word: &str, known: impl Iterator<Item = &'w str>) -> String {
    *misses += 1;
    let near = if *misses <= 20 { scalar::nearest(word, known) } else { None };
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

fn is_yes(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.may_be_typed()
        && matches!(scalar.text(), "true" | "True" | "TRUE" | "yes" | "Yes" | "on" | "On"))
}

fn is_substituted(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(Scalar { written: Some(_), .. }))
}

/// What was found, for an error: never what was substituted, never more than a short piece.
pub(crate) fn found(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) if scalar.is_null() => "nothing".into(),
        Value::Scalar(scalar) if scalar.plain => format!("`{}`", clip(scalar.shown())),
        Value::Scalar(scalar) => format!("\"{}\"", clip(scalar.shown())),
        Value::List(items) if items.is_empty() => "an empty list".into(),
        Value::List(_) => "a list".into(),
        Value::Map(entries) => match entries.first() {
            None => "an empty mapping".into(),
            Some(entry) => {
                let mut key = String::new();
                push_key(&mut key, entry.key());
                format!("a mapping (of `{key}`..)")
            }
        },
        Value::Broken => "something broken".into(),
    }
}

/// At most 60 characters, with what is not printable escaped.
pub(crate) fn clip(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == 60 {
            out.push_str("..");
            break;
        }
        if is_unclean(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}
