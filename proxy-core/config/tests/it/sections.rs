//! Sections such as filters bring, for these tests alone: one with a cluster, one with everything that a section can hold.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use weir_config::{
    Config, Environment, Errors, Field, Kind, MAX_FILE, Node, Rule, Section, Settings, Table, Walk, Word,
    words,
};

/// Sends everything to one cluster.
pub struct Pipe;

#[derive(Debug, PartialEq)]
pub struct PipeSettings {
    pub cluster: Arc<str>,
}

static PIPE: Table = Table {
    name: "pipe",
    doc: "Sends everything to one cluster.",
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
        let fields = walk.fields(node, &PIPE)?;
        Some(Arc::new(PipeSettings { cluster: fields.cluster(walk, "cluster")? }))
    }
}

words! {
    /// When to try again.
    pub enum Again {
        #[doc = "When it broke."]
        Broken = "broken",
        #[doc = "When it was late."]
        Late = "late",
    }
}

/// Has a key of every kind.
pub struct Web;

#[derive(Debug, PartialEq)]
pub struct WebSettings {
    pub routes: Vec<Route>,
}

#[derive(Debug, PartialEq)]
pub struct Route {
    pub path: Option<Arc<str>>,
    pub methods: Vec<Arc<str>>,
    pub cluster: Option<Arc<str>>,
    pub status: Option<u16>,
    pub body: Option<Arc<str>>,
    pub again: Vec<&'static str>,
    pub buffer: u64,
    pub timeout: Option<Duration>,
    pub strict: bool,
    pub headers: BTreeMap<String, Arc<str>>,
}

static METHOD: Kind = Kind::Method;
static AGAIN: Kind = Kind::OneOf(Again::CHOICES);
static TEXT: Kind = Kind::Text { max: 64 };
static A_ROUTE: Kind = Kind::Table(&ROUTE);

static WEB: Table = Table {
    name: "web",
    doc: "Sends each request by the first route that matches.",
    fields: &[Field::required("routes", Kind::List { item: &A_ROUTE, min: 1, max: 100_000 }, "The routes.")],
    rules: &[],
};

static ROUTE: Table = Table {
    name: "web route",
    doc: "One route.",
    fields: &[
        Field::optional("path", TEXT, "The path."),
        Field::optional("methods", Kind::OneOrMany(&METHOD), "The methods."),
        Field::optional("cluster", Kind::Cluster, "Where to."),
        Field::optional("status", Kind::Status, "What to answer."),
        Field::optional("body", TEXT, "What to answer with."),
        Field::optional("again", Kind::OneOrMany(&AGAIN), "When to try again."),
        Field::with_default("buffer", Kind::Size { min: 0, max: 1 << 20 }, "64KiB", "How much to keep."),
        Field::optional("timeout", Kind::Duration { min: 1, max: 60_000 }, "How long it may take."),
        Field::with_default("strict", Kind::Bool, "true", "Whether to be strict."),
        Field::optional("headers", Kind::Map { key: "header", value: &TEXT }, "What to match."),
    ],
    rules: &[Rule::ExactlyOne(&["cluster", "status"]), Rule::AtMostOne(&["body", "cluster"])],
};

impl Section for Web {
    fn key(&self) -> &'static str {
        "web"
    }

    fn table(&self) -> &'static Table {
        &WEB
    }

    fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
        let fields = walk.fields(node, &WEB)?;
        let routes = fields.items(walk, "routes")?;
        let routes = routes.iter().filter_map(|node| route(walk, node)).collect();
        Some(Arc::new(WebSettings { routes }))
    }
}

fn route(walk: &mut Walk<'_>, node: &Node) -> Option<Route> {
    let fields = walk.fields(node, &ROUTE)?;
    let methods = fields.items(walk, "methods").unwrap_or_default();
    let again = fields.items(walk, "again").unwrap_or_default();
    let headers = fields.map(walk, "headers").unwrap_or_default();
    Some(Route {
        path: fields.text(walk, "path"),
        methods: methods.iter().filter_map(|node| walk.method(node)).collect(),
        cluster: fields.cluster(walk, "cluster"),
        status: fields.number(walk, "status"),
        body: fields.text(walk, "body"),
        again: again.iter().filter_map(|node| Some(walk.word::<Again>(node, &AGAIN)?.word())).collect(),
        buffer: fields.number(walk, "buffer").unwrap_or_default(),
        timeout: fields.duration(walk, "timeout"),
        strict: fields.flag(walk, "strict").unwrap_or_default(),
        headers: headers
            .iter()
            .filter_map(|entry| Some((entry.key().to_string(), walk.text(entry.value(), &TEXT)?)))
            .collect(),
    })
}

pub const SECTIONS: &[&dyn Section] = &[&Pipe, &Web];

/// What `${..}` stands for in these tests; files are those of the fixtures.
pub struct Fixed;

pub const SECRET: &str = "hunter2-from-outside";

impl Environment for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "PORT" => "8443",
            "HOST" => "db.internal",
            "COUNT" => "12",
            "EMPTY" => "",
            "SECRET" => SECRET,
            _ => return None,
        };
        Some(value.into())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("secret.txt") => Ok(format!("{SECRET}\n")),
            Some("large.txt") => Ok("x".repeat(MAX_FILE as usize)),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }
}

pub fn parse(text: &str) -> Result<Config, Errors> {
    weir_config::parse_with(text, "weir.yaml", SECTIONS, &Fixed)
}

pub fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is wrong with a text, a line each, without the name of the file.
pub fn wrong(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("it should be wrong").to_string();
    errors.lines().map(|line| line.strip_prefix("weir.yaml:").unwrap_or(line).to_string()).collect()
}
