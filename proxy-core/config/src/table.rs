//! Field tables: what a mapping of the file may hold. One table drives the walk (which keys there are, their ranges and
//! defaults), the JSON Schema and the reference in docs/configuration.md, so that the three cannot disagree.

/// What a mapping may hold.
#[derive(Debug)]
pub struct Table {
    /// What it is called in the reference and the schema: `cluster`, `http route`. Unique among the tables of a file.
    pub name: &'static str,
    /// What it is for, in a sentence or two of Markdown.
    pub doc: &'static str,
    /// Its keys, in the order of the reference.
    pub fields: &'static [Field],
    /// What must hold between its keys.
    pub rules: &'static [Rule],
}

impl Table {
    /// Whether `{}` is all that has to be said.
    pub(crate) fn is_complete_when_empty(&self) -> bool {
        let needs_none = self.fields.iter().all(|field| field.presence != Presence::Required);
        needs_none && !self.rules.iter().any(|rule| matches!(rule, Rule::ExactlyOne(_) | Rule::AtLeastOne(_)))
    }
}

/// A rule between the keys of one mapping.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Exactly one of the keys is there.
    ExactlyOne(&'static [&'static str]),
    /// At least one of the keys is there.
    AtLeastOne(&'static [&'static str]),
    /// At most one of the keys is there.
    AtMostOne(&'static [&'static str]),
    /// All of the keys or none.
    Together(&'static [&'static str]),
}

impl Rule {
    /// The keys that it is about.
    pub(crate) fn keys(&self) -> &'static [&'static str] {
        let (Rule::ExactlyOne(keys) | Rule::AtLeastOne(keys) | Rule::AtMostOne(keys) | Rule::Together(keys)) =
            self;
        keys
    }
}

/// One key of a table.
#[derive(Debug)]
pub struct Field {
    /// The key, in snake_case.
    pub name: &'static str,
    /// What it means, in Markdown; its unit is the kind's.
    pub doc: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Whether it has to be there, and what holds when it is not.
    pub presence: Presence,
}

/// Whether a key has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It has to be there.
    Required,
    /// It may be left out; what that means is in its doc.
    Optional,
    /// It may be left out, and then this is its value, written as in the file.
    Default(&'static str),
}

impl Field {
    /// A key that has to be there.
    pub const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Field {
        Field { name, doc, kind, presence: Presence::Required }
    }

    /// A key that may be left out; `doc` says what that means.
    pub const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Field {
        Field { name, doc, kind, presence: Presence::Optional }
    }

    /// A key that may be left out, and is then `default` (written as in the file).
    pub const fn with_default(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Field {
        Field { name, doc, kind, presence: Presence::Default(default) }
    }
}

/// One word of a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The word as it is written in the file.
    pub word: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text, at most `max` bytes.
    Text {
        /// The most bytes.
        max: usize,
    },
    /// `true` or `false`.
    Bool,
    /// A whole number within the bounds, both included.
    Integer {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A duration such as `250ms`, `2s`, `1m`, `1h`, within the bounds (milliseconds, both included).
    Duration {
        /// The least, in milliseconds.
        min: u64,
        /// The most, in milliseconds.
        max: u64,
    },
    /// A size such as `64KiB` or `1MiB`, or plain bytes, within the bounds (bytes, both included).
    Size {
        /// The least, in bytes.
        min: u64,
        /// The most, in bytes.
        max: u64,
    },
    /// An address to listen on: `127.0.0.1:8080`, `[::1]:8080`.
    Bind,
    /// Where a listener listens: as [`Kind::Bind`], or a Unix socket: `unix:/run/weir/db.sock`.
    Listen,
    /// Where an endpoint is: as [`Kind::HostPort`], or a Unix socket: `unix:/run/db.sock`.
    Endpoint,
    /// An IP address or a network: `10.0.0.0/8`, `2001:db8::/32`, `10.0.0.1`.
    Network,
    /// Where to connect to: `host:port`, `10.0.0.1:80`, `[::1]:80`.
    HostPort,
    /// A host name or an IP address, without a port.
    Host,
    /// A path in the file system; a relative one is relative to the configuration file.
    Path,
    /// The name of a cluster of this file.
    Cluster,
    /// An HTTP status, 200 to 599.
    Status,
    /// An HTTP method: a token of RFC 9110 section 5.6.2, at most 64 bytes.
    Method,
    /// One word of a closed list.
    OneOf(&'static [Choice]),
    /// A mapping with the keys of a table.
    Table(&'static Table),
    /// A list; `max` items at most.
    List {
        /// What each item is.
        item: &'static Kind,
        /// The least items.
        min: usize,
        /// The most items.
        max: usize,
    },
    /// One item, or a list of one or more.
    OneOrMany(&'static Kind),
    /// A mapping from names of the user's choice.
    Map {
        /// What the names are, for the reference: `listener name`.
        key: &'static str,
        /// What each value is.
        value: &'static Kind,
    },
    /// Either this or that: a scalar, or a mapping for those who need more.
    Either(&'static Kind, &'static Kind),
}

/// An enum whose variants are words of the file; made by [`words!`](crate::words).
pub trait Word: Copy + 'static {
    /// The words and the variants they stand for.
    const WORDS: &'static [(Choice, Self)];

    /// The word for this variant, as it is written in the file.
    fn word(self) -> &'static str;
}

/// Declares an enum whose variants are words of the file, with the table of [`Choice`]s for its [`Kind::OneOf`]:
/// `CHOICES`. Every variant needs one doc line, which goes into the reference.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $(#[doc = $doc:literal] $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name { $(#[doc = $doc] $variant,)+ }
        impl $name {
            /// The words, for the field table.
            pub const CHOICES: &'static [$crate::Choice] = &[$($crate::Choice { word: $word, doc: $doc },)+];
        }
        impl $crate::Word for $name {
            const WORDS: &'static [($crate::Choice, $name)] =
                &[$(($crate::Choice { word: $word, doc: $doc }, $name::$variant),)+];
            fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }
    };
}

impl Table {
    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// What is wrong with a table and those below it, for the tests of who declares one: defaults that are not of their kind, keys
/// that are there twice or are YAML 1.1 booleans, missing docs, rules about keys that are not there.
pub fn problems(table: &'static Table) -> Vec<String> {
    let mut found = Vec::new();
    inspect(table, &mut Vec::new(), &mut found);
    found
}

fn inspect(table: &'static Table, known: &mut Vec<&'static Table>, found: &mut Vec<String>) {
    if known.iter().any(|other| std::ptr::eq(*other, table)) {
        return;
    }
    let mut say = |what: String| found.push(format!("{}: {what}", table.name));
    if known.iter().any(|other| other.name == table.name) {
        say("another table has this name".into());
    }
    known.push(table);
    if table.doc.is_empty() {
        say("no doc".into());
    }
    for (n, field) in table.fields.iter().enumerate() {
        let name = field.name;
        let snake = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !snake || matches!(name, "on" | "off" | "yes" | "no" | "y" | "n") {
            say(format!("`{name}` is no snake_case key, or a boolean of YAML 1.1"));
        }
        if table.fields.iter().take(n).any(|other| other.name == name) {
            say(format!("`{name}` is there twice"));
        }
        if field.doc.is_empty() || !field.doc.ends_with(['.', '`']) {
            say(format!("`{name}` has no doc that ends in a full stop"));
        }
        if let Presence::Default(text) = field.presence
            && let Err(problem) = crate::scalar::read(&field.kind, text, true)
        {
            say(format!("`{name}`: the default `{text}` is not {}", problem.expected));
        }
    }
    for rule in table.rules {
        let keys = rule.keys();
        for key in keys.iter().filter(|key| table.field(key).is_none()) {
            say(format!("a rule is about `{key}`, which is not there"));
        }
    }
    for field in table.fields {
        inspect_kind(&field.kind, known, found);
    }
}

fn inspect_kind(kind: &Kind, known: &mut Vec<&'static Table>, found: &mut Vec<String>) {
    match *kind {
        Kind::Table(table) => inspect(table, known, found),
        Kind::List { item, .. } | Kind::OneOrMany(item) | Kind::Map { value: item, .. } => {
            inspect_kind(item, known, found);
        }
        Kind::Either(a, b) => {
            inspect_kind(a, known, found);
            inspect_kind(b, known, found);
        }
        _ => {}
    }
}
