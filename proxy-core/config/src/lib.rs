//! Weir's configuration: from a file to checked types that cannot be wrong.
//!
//! How a file passes through: its text becomes a spanned tree (`tree`, from the events of `saphyr-parser`; `${VAR}` and
//! `${file:PATH}` are put in by `substitute`); the typed walk (`walk`) takes the tree apart by field tables ([`Table`]) and
//! collects every error on the way; `read` makes the model ([`Config`]) of it. The same tables make the JSON Schema
//! ([`schema`](fn@schema)) and the reference in docs/configuration.md.
//!
//! The core knows no protocol by name. A filter brings the key of its section of a listener, the section's table and its
//! reader as a [`Section`]; what the reader makes travels as [`Settings`], which only the filter looks into:
//!
//! ```
//! use std::sync::Arc;
//! use weir_config::{Field, Kind, Node, Section, Settings, Table, Walk};
//!
//! static ECHO: Table = Table {
//!     name: "echo",
//!     doc: "Sends back what comes.",
//!     fields: &[Field::with_default("times", Kind::Integer { min: 1, max: 9 }, "1", "How often.")],
//!     rules: &[],
//! };
//! struct Echo;
//! impl Section for Echo {
//!     fn key(&self) -> &'static str { "echo" }
//!     fn table(&self) -> &'static Table { &ECHO }
//!     fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
//!         let fields = walk.fields(node, &ECHO)?;
//!         let times: Option<u32> = fields.number(walk, "times");
//!         Some(Arc::new(times?))
//!     }
//! }
//! let text = "listeners: { e: { bind: '127.0.0.1:7', echo: { times: many } } }";
//! let errors = weir_config::parse(text, "weir.yaml", &[&Echo]).unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "weir.yaml:1:55: listeners.e.echo.times: expected a whole number from 1 to 9, found `many`",
//! );
//! ```

mod address;
mod canonical;
mod diagnostic;
mod diff;
mod fields;
mod http2;
mod keys;
mod limits;
mod model;
mod network;
mod node;
mod read;
mod reference;
mod scalar;
mod schema;
mod substitute;
mod table;
mod tables;
mod taken;
mod tls;
mod tree;
mod walk;
mod yaml;

pub use diagnostic::{Diagnostic, Errors, Position, clean};
pub use diff::{Changes, Diff};
pub use fields::Fields;
pub use http2::{HTTP2, Http2};
pub use limits::{CircuitBreaker, OutlierEjection, RetryBudget};
pub use model::{
    Balance, Cluster, Config, DnsFamily, EndpointSpec, Limits, Listener, Log, LogFormat, LogLevel, Settings,
    Source, Upstream,
};
pub use network::{
    AcceptRate, Admission, Bind, Cidr, NotANetwork, ProxyProtocol, ProxyVersion, Trusted, UNIX, unix_path,
};
pub use node::{Entry, Node, Scalar, Value};
pub use reference::{reference, reference_of, replace_block};
pub use schema::schema;
pub use substitute::{Environment, MAX_FILE, Seen, System, open_regular, print, read_all};
pub use table::{Choice, Field, Kind, Presence, Rule, Table, Word, problems};
pub use tables::{CLUSTER, FILE, LISTENER, MAX_CONNECTIONS};
pub use tls::{ClientCertificates, ClientTls, File, Identity, NameMatch, Passthrough, ServerTls};
pub use tree::{MAX_BYTES, MAX_DEPTH, MAX_NODES};
pub use walk::Walk;

use std::path::Path;
use std::sync::Arc;

/// A filter's section of a listener.
pub trait Section: Sync {
    /// The key of the section in a listener, which is also the name of the protocol: `mongo`, `http`.
    fn key(&self) -> &'static str;

    /// What the section may hold.
    fn table(&self) -> &'static Table;

    /// Reads the section. `None` only when an error was recorded in the walk. Every key of the table has to be asked for, by
    /// [`Fields`] or [`Node::child`], whenever it is there: builds with debug assertions panic at a key that a table knows
    /// and nobody asks for, since it would be an option without an effect.
    fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings>;

    /// Whether what it carries are HTTP requests, whose fields say who the client is. Where they are not, `trusted` is an error.
    fn has_fields(&self) -> bool {
        false
    }

    /// The ports of its address that a listener with these settings may open beside its own. What is wrong with the section,
    /// given that address, is recorded. By default none.
    fn more_ports<'n>(
        &self,
        walk: &mut Walk<'_>,
        node: &'n Node,
        settings: &Settings,
        bind: &Bind,
    ) -> Option<MorePorts<'n>> {
        let _ = (walk, node, settings, bind);
        None
    }
}

/// Ports that a listener may open beside its own.
#[derive(Debug, Clone)]
pub struct MorePorts<'n> {
    /// The ports; its own may be among them.
    pub range: std::ops::RangeInclusive<u16>,
    /// What says so.
    pub node: &'n Node,
}

/// Reads and checks a file.
pub fn load(path: &Path, sections: &[&dyn Section]) -> Result<Config, Errors> {
    load_traced(path, sections).config
}

/// A configuration, and the files that it was made of.
#[derive(Debug)]
pub struct Loaded {
    /// What came out.
    pub config: Result<Config, Errors>,
    /// The file and those that it names by `${file:PATH}`, each as it was when it was read.
    pub files: Vec<Seen>,
}

/// The same as [`load`], and which files it was made of.
pub fn load_traced(path: &Path, sections: &[&dyn Section]) -> Loaded {
    let name = path.to_string_lossy();
    match substitute::read_text(path, MAX_BYTES as u64) {
        Err(error) => {
            Loaded { config: Err(Errors::unread(&name, &error)), files: vec![(path.to_owned(), None)] }
        }
        Ok(text) => {
            let base = path.parent().unwrap_or(Path::new(""));
            let mut loaded = parse_traced(&text, &name, base, sections);
            loaded.files.insert(0, (path.to_owned(), Some(print(text.as_bytes()))));
            loaded
        }
    }
}

/// The same of a text that came from elsewhere, `name`. Relative paths in it are relative to `base`.
pub fn parse_traced(text: &str, name: &str, base: &Path, sections: &[&dyn Section]) -> Loaded {
    let traced = substitute::Traced { environment: &System, files: std::cell::RefCell::default() };
    let config = check(text, name, base, sections, &traced).0;
    Loaded { config, files: traced.files.into_inner() }
}

/// Checks the text of a file. Relative paths in it are relative to the folder of `file_name`.
pub fn parse(text: &str, file_name: &str, sections: &[&dyn Section]) -> Result<Config, Errors> {
    parse_with(text, file_name, sections, &System)
}

/// The same, with `${VAR}` and `${file:PATH}` from an environment of the caller's.
pub fn parse_with(
    text: &str,
    file_name: &str,
    sections: &[&dyn Section],
    environment: &dyn Environment,
) -> Result<Config, Errors> {
    let base = Path::new(file_name).parent().unwrap_or(Path::new(""));
    check(text, file_name, base, sections, environment).0
}

/// The same, and how many values were looked at.
fn check(
    text: &str,
    file_name: &str,
    base: &Path,
    sections: &[&dyn Section],
    environment: &dyn Environment,
) -> (Result<Config, Errors>, u64) {
    let file: Arc<str> = file_name.into();
    let mut substitution = substitute::Substitution { environment, base, left: MAX_BYTES };
    let tree = tree::read(text, &mut |text| substitution.apply(text));
    let path = |id: Option<u32>| match (&tree.root, id) {
        (Some(root), Some(id)) => node::path_of(root, id),
        _ => String::new(),
    };
    let mut errors = Vec::new();
    for tree::Mistake { at, node, message } in tree.mistakes {
        errors.push(Diagnostic::new(file.clone(), at, &path(node), &message));
    }
    let Some(root) = &tree.root else {
        tree::keep_within(text, &mut errors);
        return (Err(Errors::new(errors, tree.omitted)), 0);
    };
    let mut walk = Walk::new(file, root, base, errors, tree.omitted);
    let config = read::config(&mut walk, root, sections);
    let visited = walk.visited;
    let result = walk.finish(config, text);
    if result.is_ok() {
        debug_assert_eq!(root.ignored(), None, "a key is in a table, and nothing reads it");
    }
    (result, visited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    struct Pipe;

    static PIPE: Table = Table {
        name: "pipe",
        doc: "To one cluster.",
        fields: &[Field::required("cluster", Kind::Cluster, "Where to.")],
        rules: &[],
    };

    impl Section for Pipe {
        fn key(&self) -> &'static str {
            "pipe"
        }

        fn table(&self) -> &'static Table {
            &PIPE
        }

        fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
            Some(Arc::new(walk.fields(node, &PIPE)?.cluster(walk, "cluster")?))
        }
    }

    fn large(count: usize) -> String {
        let mut text = "listeners:\n".to_string();
        for n in 0..count {
            writeln!(text, "  l{n}: {{ bind: '127.0.0.1:0', pipe: {{ cluster: c{n} }} }}").unwrap();
        }
        text.push_str("clusters:\n");
        for n in 0..count {
            writeln!(text, "  c{n}: {{ endpoints: ['127.0.0.1:80'] }}").unwrap();
        }
        text
    }

    #[test]
    fn the_walk_is_linear() {
        let work = |count| {
            let (config, visited) = check(&large(count), "f", Path::new(""), &[&Pipe], &System);
            assert_eq!(config.unwrap().clusters.len(), count);
            visited
        };
        let (one, ten) = (work(1_000), work(10_000));
        assert!(ten <= 10 * one, "{one} values were looked at for 1,000, {ten} for 10,000");
    }

    struct Silent;

    impl Section for Silent {
        fn key(&self) -> &'static str {
            "pipe"
        }

        fn table(&self) -> &'static Table {
            &PIPE
        }

        fn read(&self, _: &mut Walk<'_>, _: &Node) -> Option<Settings> {
            None
        }
    }

    #[test]
    fn nothing_is_dropped_in_silence() {
        let text = "listeners: { l: { bind: '127.0.0.1:0', pipe: {} } }";
        let errors = parse(text, "f", &[&Silent]).unwrap_err();
        assert_eq!(errors.to_string(), "f:1:46: listeners.l.pipe: this section could not be read");
    }
}
