//! docs/admin.md says of every endpoint what it answers: its examples are what this answers.

use crate::fixture::{Fixture, endpoints};
use std::path::Path;

#[test]
fn examples_are_what_is_answered() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/admin.md");
    let page = std::fs::read_to_string(page).unwrap();
    let fixture = Fixture::new();
    fixture.operations();
    for (path, what) in endpoints() {
        let section = format!("\n## `{path}`\n");
        let (_, section) =
            page.split_once(&section).unwrap_or_else(|| panic!("docs/admin.md has no section {path}"));
        let section = section.split("\n## ").next().unwrap();
        let mut examples = 0;
        let mut rest = section;
        while let Some((_, from)) = rest.split_once("\n```console\n$ curl ") {
            let (example, after) = from.split_once("\n```").unwrap();
            let (command, shown) = example.split_once('\n').unwrap();
            let url = command.split_whitespace().last().unwrap().trim_matches('\'');
            let target = url.strip_prefix("http://127.0.0.1:9901").unwrap();
            let reply = fixture.get(target);
            let body = reply.body.trim_end();
            match shown.strip_suffix("\n...") {
                Some(start) => assert!(body.starts_with(start), "{path}: now it begins\n{body:.1500}"),
                None => assert!(body == shown, "{path}: now it is\n{body}"),
            }
            (examples, rest) = (examples + 1, after);
        }
        assert!(examples > 0, "docs/admin.md has no example of {path}: {what}");
    }
}
