//! Any text as a configuration file: no panic, every error within the file, and what is taken says the same when it is printed
//! and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io;
use std::path::Path;
use std::sync::Arc;
use weir_config::{Environment, Field, Kind, Node, Section, Settings, Table, Walk};

static PIPE: Table = Table {
    name: "tcp",
    doc: "To one cluster.",
    fields: &[Field::required("cluster", Kind::Cluster, "Where to.")],
    rules: &[],
};

struct Pipe;

impl Section for Pipe {
    fn key(&self) -> &'static str {
        "tcp"
    }

    fn table(&self) -> &'static Table {
        &PIPE
    }

    fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
        Some(Arc::new(walk.fields(node, &PIPE)?.cluster(walk, "cluster")?))
    }
}

/// Nothing of the machine that fuzzes.
struct Nothing;

impl Environment for Nothing {
    fn variable(&self, name: &str) -> Option<String> {
        (name.len() < 5).then(|| "80".into())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        if path.as_os_str().len() < 5 { Ok("h\n".into()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

fuzz_target!(|text: &str| {
    let parse = |text: &str| weir_config::parse_with(text, "f", &[&Pipe], &Nothing);
    match parse(text) {
        Ok(config) => {
            let printed = parse(&config.to_yaml()).map(|again| again.to_json());
            assert_eq!(printed, Ok(config.to_json()));
        }
        Err(errors) => {
            let lines: Vec<usize> = text
                .replace("\r\n", "\n")
                .split(['\r', '\n'])
                .map(|line| line.chars().count() + 1)
                .collect();
            for error in errors.list() {
                let columns = lines[error.at.line as usize - 1];
                assert!((1..=columns).contains(&(error.at.column as usize)), "{error}");
                assert!(!error.message.contains('\n'), "{error}");
            }
        }
    }
});
