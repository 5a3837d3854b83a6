//! `cargo xtask shape`: figures about the shape of the code, by plain rules over its text, so that a change of shape is seen.
//!
//! Counted is the product's code: what is under `src` in the package `weir`, `codecs`, `proxy-core`, `filters` and `console`, without
//! `#[cfg(test)]` modules at the end of a file. Comments do not count unless a rule says so.
//!
//! - *Files in circles*: an arrow leads from a file to each file of the same crate that it imports from (`use crate::`, `use super::`,
//!   `use self::`). A name that the crate's root re-exports belongs to the file it comes from. Files that can reach each other are in a
//!   circle (a strongly connected component of more than one file). The root itself does not count.
//! - *Changes state, answers a bare bool*: functions that take `&mut self` and return `bool`.
//! - *Type names*: structs, enums, unions, type aliases and traits of one name, where there are more than three in the workspace.
//! - *Comments about somebody*: comment lines with somebody, anybody, everybody, nobody, whoever or whatever.
//! - *Protocols in the core*: lines of code in proxy-core and console with the word mongo in them.
//! - *Long files* (over 600 lines) and *long functions* (over 80 lines, from `fn` to the brace in the same column).

mod imports;

use crate::run;
use anyhow::Result;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The folders that hold the crates whose code is counted.
const CRATES: [&str; 11] = [
    ".",
    "codecs",
    "proxy-core/config",
    "proxy-core/decide",
    "proxy-core/measure",
    "proxy-core/drive",
    "filters/http",
    "filters/dynamodb",
    "filters/grpc",
    "filters/mongo",
    "console",
];

const PEOPLE: [&str; 6] = ["somebody", "anybody", "everybody", "nobody", "whoever", "whatever"];

/// Prints every figure.
pub fn print() -> Result<()> {
    let mut all = Vec::new();
    println!("files in circles, by crate");
    for folder in CRATES {
        let sources = sources(&run::root().join(folder).join("src"))?;
        let circles = imports::circles(&sources);
        let files: usize = circles.iter().map(Vec::len).sum();
        println!("  {files:4} of {:3}  {}", sources.len(), if folder == "." { "src" } else { folder });
        for circle in &circles {
            println!("              {}", circle.join(" "));
        }
        let core = folder.starts_with("proxy-core") || folder == "console";
        all.extend(sources.into_iter().map(|source| (core, source)));
    }
    let sum =
        |count: &dyn Fn(bool, &Source) -> usize| all.iter().map(|(core, s)| count(*core, s)).sum::<usize>();
    println!("{:6} functions that change state and answer a bare bool", sum(&|_, s| s.bare_bools()));
    println!("{:6} comment lines about somebody", sum(&|_, s| s.comments_about_people()));
    println!(
        "{:6} lines of proxy-core and console that name mongo",
        sum(&|core, s| if core { s.names_mongo() } else { 0 })
    );
    println!("{:6} files over 600 lines", sum(&|_, s| usize::from(s.text.lines().count() > 600)));
    println!("{:6} functions over 80 lines", sum(&|_, s| s.long_functions()));
    println!("type names more than three times in the workspace");
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, source) in &all {
        for name in source.types() {
            *names.entry(name).or_default() += 1;
        }
    }
    let mut often: Vec<_> = names.into_iter().filter(|(_, times)| *times > 3).collect();
    often.sort_by_key(|(name, times)| (std::cmp::Reverse(*times), *name));
    for (name, times) in often {
        println!("  {times:4} {name}");
    }
    Ok(())
}

/// A file of a crate.
pub struct Source {
    /// Its module's path: empty for the crate's root.
    pub module: Vec<String>,
    /// Its text, without the tests at its end.
    pub text: String,
}

/// Every file under a crate's `src`.
fn sources(folder: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut open: Vec<PathBuf> = vec![folder.into()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            let relative = path.strip_prefix(folder)?.with_extension("");
            let mut module: Vec<String> =
                relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
                module.pop();
            }
            sources.push(Source::new(module, &fs::read_to_string(&path)?));
        }
    }
    sources.sort_by(|a, b| a.module.cmp(&b.module));
    Ok(sources)
}

impl Source {
    fn new(module: Vec<String>, text: &str) -> Source {
        let tests =
            text.find("#[cfg(test)]\nmod ").filter(|at| text.get(*at..).is_some_and(|t| t.contains(" {\n")));
        Source { module, text: text.get(..tests.unwrap_or(text.len())).unwrap_or(text).to_owned() }
    }

    /// Its lines without comments.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code))
    }

    fn bare_bools(&self) -> usize {
        let code: Vec<&str> = self.code().collect();
        let code = code.join(" ");
        let functions = code.split("fn ").skip(1).filter_map(|rest| rest.split(['{', ';']).next());
        let changes =
            |signature: &&str| signature.contains("&mut self") && signature.trim_end().ends_with("-> bool");
        functions.filter(changes).count()
    }

    fn comments_about_people(&self) -> usize {
        let comments = self.text.lines().filter_map(|line| line.split_once("//")).map(|(_, comment)| comment);
        let words = |comment: &str| {
            let lower = comment.to_ascii_lowercase();
            lower.split(|c: char| !c.is_ascii_alphabetic()).any(|word| PEOPLE.contains(&word))
        };
        comments.filter(|comment| words(comment)).count()
    }

    fn names_mongo(&self) -> usize {
        self.code().filter(|line| line.to_ascii_lowercase().contains("mongo")).count()
    }

    fn long_functions(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut long = 0;
        for (at, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if !is_function(line.trim_start()) {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let body = lines.iter().skip(at).position(|line| *line == close);
            long += usize::from(body.is_some_and(|length| length + 1 > 80));
        }
        long
    }

    fn types(&self) -> impl Iterator<Item = &str> {
        self.code().filter_map(|line| {
            let mut words = line.trim_start().split_ascii_whitespace().peekable();
            words.next_if(|word| word.starts_with("pub"));
            let kind = words.next()?;
            let name = words.next()?;
            let is_type = matches!(kind, "struct" | "enum" | "union" | "type" | "trait");
            // An associated type of an `impl` says nothing new.
            let associated = kind == "type" && line.starts_with(' ');
            (is_type && !associated)
                .then(|| name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(name))
        })
    }
}

fn is_function(line: &str) -> bool {
    let words = line.split_ascii_whitespace();
    let mut words =
        words.skip_while(|word| word.starts_with("pub") || matches!(*word, "async" | "const" | "unsafe"));
    words.next() == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
//! What nobody needs.
use crate::b::B;
struct Held { whatever: u32 } // Somebody's
impl Held {
    type Out = u8;
    /// Says whether it took.
    pub(crate) fn take(&mut self, n: u32) -> bool {
        let mongo = 1; // mongo
    }
    fn is(&self) -> bool {}
}
#[cfg(test)]
mod tests {
    struct Held; // nobody
}
";

    #[test]
    fn figures_are_those_of_the_rules() {
        let source = Source::new(vec!["a".into()], TEXT);
        assert_eq!(source.comments_about_people(), 2);
        assert_eq!(source.bare_bools(), 1);
        assert_eq!(source.types().collect::<Vec<_>>(), ["Held"]);
        assert_eq!(source.names_mongo(), 1);
        assert_eq!(source.long_functions(), 0);
        let long = format!("    fn f() {{\n{}    }}\n", "        g();\n".repeat(79));
        assert_eq!(Source::new(Vec::new(), &long).long_functions(), 1);
    }
}
